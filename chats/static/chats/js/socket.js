// One WebSocket a chat page, which comes back by itself; Server-Sent Events when no socket can be opened.

import { backoff } from "./request.js";

const SILENCE = 45_000;
const TRIES_BEFORE_EVENTS = 2;
const followers = new Map();

let socket = null;
let chat = null;
let attempt = 0;
let reconnectTimer;
let silenceTimer;

function deliver(event) {
  if (event.type === "chat.changed") document.dispatchEvent(new CustomEvent("parley:chat", { detail: event.chat }));
  else followers.get(event.reply)?.receive(event);
}

function askFor(reply) {
  const follower = followers.get(reply);
  follower.source?.close();
  follower.source = null;
  socket.send(JSON.stringify({ type: "reply.follow", reply, after: follower.after() }));
}

// A connection can die without a word; asking again costs little.
function watchSilence() {
  clearTimeout(silenceTimer);
  silenceTimer = setTimeout(() => (followers.size ? socket?.close() : watchSilence()), SILENCE);
}

function connect() {
  clearTimeout(reconnectTimer);
  if (!chat || socket) return;
  socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/chats/${chat}/`);
  socket.addEventListener("open", () => {
    attempt = 0;
    watchSilence();
    followers.forEach((_, reply) => askFor(reply));
  });
  socket.addEventListener("message", ({ data }) => {
    watchSilence();
    deliver(JSON.parse(data));
  });
  socket.addEventListener("close", async ({ code }) => {
    socket = null;
    clearTimeout(silenceTimer);
    if (code === 4401 && !(await isSignedIn())) {
      document.dispatchEvent(new CustomEvent("parley:signed-out"));
      return;
    }
    attempt += 1;
    if (attempt >= TRIES_BEFORE_EVENTS) followers.forEach((follower, reply) => listen(follower, reply));
    reconnectTimer = setTimeout(connect, backoff(attempt - 1));
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

export function open(chatId) {
  chat = chatId;
  connect();
}

// `after()` is the number of the last event seen. Returns the function that ends it.
export function follow(chatId, reply, after, receive) {
  followers.set(reply, { after, receive, source: null });
  if (socket?.readyState === 1) askFor(reply);
  else open(chatId);
  return () => {
    followers.get(reply)?.source?.close();
    followers.delete(reply);
  };
}

function returnNow() {
  if (document.visibilityState !== "visible") return;
  attempt = 0;
  connect();
}
addEventListener("online", returnNow);
document.addEventListener("visibilitychange", returnNow);
