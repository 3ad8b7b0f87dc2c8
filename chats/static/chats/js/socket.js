// One WebSocket a page, which comes back by itself; Server-Sent Events when no socket can be opened. It carries the answers
// of this chat, and news of all chats for the list beside it.

import { backoff } from "./request.js";

const SILENCE = 45_000;
const ANSWER = 10_000;
const TRIES_BEFORE_EVENTS = 2;
const followers = new Map();

let socket = null;
let chat;
let wasAway = false;
let attempt = 0;
let reconnectTimer;
let silenceTimer;

const dispatch = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));

function deliver(event) {
  if (event.type === "chats.watched") dispatch("parley:answering", event);
  else if (event.type === "chat.deleted") dispatch("parley:chat-deleted", event.chat);
  else if (event.type === "chat.changed") {
    dispatch("parley:chat-changed", event.chat);
    if (event.chat.id === chat) dispatch("parley:chat", event.chat);
  } else followers.get(event.reply)?.receive(event);
}

function askFor(reply) {
  const follower = followers.get(reply);
  follower.source?.close();
  follower.source = null;
  socket.send(JSON.stringify({ type: "reply.follow", reply, after: follower.after() }));
}

// A connection can die without a word: when it is silent it is asked something that is always answered.
function watchSilence() {
  clearTimeout(silenceTimer);
  silenceTimer = setTimeout(probe, SILENCE);
}

function probe() {
  socket.send(JSON.stringify({ type: "chats.watch" }));
  expectWord();
}

function expectWord() {
  clearTimeout(silenceTimer);
  silenceTimer = setTimeout(() => {
    // To close a dead connection takes long, and nobody waits for it.
    socket.close();
    forget();
    tryAgain();
  }, ANSWER);
}

function forget() {
  socket = null;
  wasAway = true;
  clearTimeout(silenceTimer);
  dispatch("parley:disconnected");
}

function tryAgain() {
  attempt += 1;
  if (attempt >= TRIES_BEFORE_EVENTS) followers.forEach((follower, reply) => listen(follower, reply));
  reconnectTimer = setTimeout(connect, backoff(attempt - 1));
}

function connect() {
  clearTimeout(reconnectTimer);
  if (chat === undefined || socket) return;
  const opened = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/chats/${chat ? `${chat}/` : ""}`);
  socket = opened;
  expectWord();
  opened.addEventListener("open", () => {
    if (socket !== opened) return;
    probe();
    // Nobody has told what changed meanwhile.
    if (wasAway) dispatch("parley:reconnected");
    wasAway = false;
    followers.forEach((_, reply) => askFor(reply));
  });
  opened.addEventListener("message", ({ data }) => {
    if (socket !== opened) return;
    attempt = 0;
    watchSilence();
    deliver(JSON.parse(data));
  });
  opened.addEventListener("close", async ({ code }) => {
    if (socket !== opened) return;
    forget();
    if (code === 4401 && !(await isSignedIn())) dispatch("parley:signed-out");
    else tryAgain();
  });
}

// A password changed in another tab ends this tab's session and leaves the browser with a new one.
async function isSignedIn() {
  const answer = await fetch("/api/v1/me/").catch(() => null);
  return !answer || answer.status !== 401;
}

function listen(follower, reply) {
  if (follower.source && follower.source.readyState !== EventSource.CLOSED) return;
  follower.source = new EventSource(`/api/v1/replies/${reply}/events/?after=${follower.after()}`);
  follower.source.addEventListener("message", ({ data }) => deliver(JSON.parse(data)));
}

export const isOpen = () => socket?.readyState === 1;

// `chatId` is null on a page without a chat.
export function open(chatId) {
  chat = chatId;
  connect();
}

// `after()` is the number of the last event seen. Returns the function that ends it.
export function follow(chatId, reply, after, receive) {
  const follower = { after, receive, source: null };
  followers.get(reply)?.source?.close();
  followers.set(reply, follower);
  if (isOpen()) askFor(reply);
  else open(chatId);
  return () => {
    follower.source?.close();
    if (followers.get(reply) === follower) followers.delete(reply);
  };
}

function returnNow() {
  if (document.visibilityState !== "visible") return;
  attempt = 0;
  if (isOpen()) probe();
  else connect();
}
addEventListener("online", returnNow);
document.addEventListener("visibilitychange", returnNow);
