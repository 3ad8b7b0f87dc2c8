// Watches answers that are still being written, from this page or another, and takes the finished ones from the server.

import { hideProblem, isBusy, setAnswering, showProblem } from "./composer.js";
import { announceNew, isNewest, lastMessage, replace, replaceAll, say } from "./log.js";
import { ask, backoff } from "./request.js";
import { follow, open } from "./socket.js";

const main = document.getElementById("main");
const log = document.getElementById("log");
const watched = new Map(); // by reply: its article, and what ends the watching
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function untilAnswered(url) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await (await ask(url)).text();
    } catch (error) {
      // Anything but a network or server failure will not get better.
      if (error.status && error.status < 500) throw error;
      await pause(backoff(attempt));
    }
  }
}

// Formatting is only needed where something streams; the network may be away at that moment.
async function untilLoaded() {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await import("./growing.js");
    } catch {
      await pause(backoff(attempt));
    }
  }
}

async function finish(article, growing) {
  growing.end();
  article.removeAttribute("data-stop");
  showAnswering();
  try {
    replace(article, await untilAnswered(`/messages/${article.dataset.message}/`));
  } catch {
    article.removeAttribute("data-reply");
  }
}

// A long snapshot comes in parts and holds once it is whole: whoever is cut off between them asks for it again.
function gatherer() {
  let gathered = [];
  return (event) => {
    if (!event.parts || event.part === 1) gathered = [];
    if (!event.parts) return event;
    if (event.part === gathered.length + 1) gathered.push(event);
    if (gathered.length < event.parts) return null;
    const joined = (field) => gathered.map((part) => part[field]).join("");
    return { ...event, text: joined("text"), reasoning: joined("reasoning") };
  };
}

async function watch(article) {
  const reply = article.dataset.reply;
  const entry = { article, end() {} };
  watched.set(reply, entry);
  const { Growing } = await untilLoaded();
  if (watched.get(reply) !== entry) return;
  const growing = new Growing(article, say);
  let last = Number(article.dataset.after);
  const whole = gatherer();
  const unfollow = follow(main.dataset.chat, reply, () => last, (received) => {
    growing.hasBegun = true;
    const event = whole(received);
    if (!event) return;
    if (event.type === "reply.finished" || event.type === "reply.gone") {
      unfollow();
      finish(article, growing);
      return;
    }
    const replaces = event.type === "reply.snapshot" || event.type === "reply.restarted";
    // What replaces everything is right at any time. Anything else follows on what was seen: numbers come again after a
    // reconnect, and from an earlier following there may be some on their way that are too far on.
    if (event.seq !== last + 1 && !replaces) return;
    last = event.seq;
    // Whoever answered in the lost attempt: it begins again with the model that was asked for.
    if (event.type === "reply.restarted") growing.tell("");
    if (replaces) growing.set(event.text, event.reasoning);
    else if (event.type === "text.delta") growing.add(event.text);
    else if (event.type === "reasoning.delta") growing.addReasoning(event.text);
    else if (event.type === "reply.fallback") growing.tell(event.notice);
    else if (event.type === "sources.found") growing.showSources(event.sources, main.dataset.documents);
  });
  entry.end = () => {
    unfollow();
    growing.leave();
  };
}

function showAnswering() {
  setAnswering([...log.querySelectorAll("article[data-stop]")].at(-1)?.dataset.stop ?? null);
}

// Versions come and go while answers are written: what stands in the page is watched, and nothing else.
function watchShown() {
  for (const [reply, { article, end }] of watched) {
    if (article.isConnected) continue;
    end();
    watched.delete(reply);
  }
  for (const article of log.querySelectorAll("article[data-reply]")) {
    if (!watched.has(article.dataset.reply)) watch(article);
  }
  showAnswering();
}

// ---- retry
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("[data-retry]");
  if (!form) return;
  event.preventDefault();
  if (form.dataset.sending) return;
  form.dataset.sending = "true";
  hideProblem();
  const body = new FormData(form);
  const model = document.querySelector("[data-picker] input[name=model]:checked");
  if (model) body.set("model", model.value);
  try {
    replace(form.closest("article"), await (await ask(form.action, { method: "POST", body })).text());
    document.getElementById("content").focus();
  } catch (error) {
    delete form.dataset.sending;
    showProblem(error.message);
  }
  catchUp();
});

// ---- news of the chat
function showTitle(title) {
  document.querySelector("[data-title]").textContent = title;
  document.title = `${title} · Parley`;
}

// Another tab may have spoken between what this page shows and what was said here.
function hasGap() {
  // Above the first message there is nothing, or the link to earlier ones, which carries no id.
  const isApart = ({ dataset, previousElementSibling: before }) => (before ? before.dataset.message ?? dataset.parent : "") !== dataset.parent;
  return [...document.querySelectorAll("#log [data-parent]")].some(isApart);
}

// What the log is to end with, as long as nobody has looked: null in an empty chat, undefined when there is no news.
let wanted;
let isLooking = false;

const isOccupied = () => isBusy() || Boolean(document.querySelector("[data-retry][data-sending], [data-edit], [data-panel], #log .htmx-request"));

async function catchUp() {
  if (wanted === undefined || isLooking || isOccupied() || !isNewest()) return;
  const leaf = wanted;
  wanted = undefined;
  if (lastMessage() === leaf && !hasGap()) return;
  isLooking = true;
  try {
    const html = await untilAnswered(location.pathname);
    // What was begun meanwhile is not to be lost; when it is over, this is looked at anew.
    if (!isOccupied()) replaceAll(html);
    else if (wanted === undefined) wanted = leaf;
  } catch {
    // The chat is gone, or the person signed out: they are told elsewhere.
  }
  isLooking = false;
  catchUp();
}

document.addEventListener("parley:chat", ({ detail: chat }) => {
  if (chat.title) showTitle(chat.title);
  wanted = chat.current_leaf;
  catchUp();
});
document.addEventListener("parley:signed-out", () => {
  showProblem("You are signed out. Sign in again in another tab, then reload this page; your text is kept.");
});
document.addEventListener("parley:new", watchShown);
// When what brought it is done.
document.addEventListener("parley:new", () => setTimeout(() => {
  if (wanted === undefined && hasGap()) wanted = lastMessage();
  catchUp();
}));
// What kept the log as it was is over: something was sent, or an edit or a panel closed.
document.addEventListener("parley:idle", catchUp);
document.addEventListener("htmx:afterRequest", catchUp);
document.addEventListener("htmx:load", ({ detail }) => detail.elt !== document.body && announceNew(detail.elt));
document.addEventListener("htmx:afterSwap", ({ detail }) => detail.target === log && watchShown());

watchShown();
// Not before the page has had its breath: nothing on it waits for this.
setTimeout(() => open(main.dataset.chat ?? null), 250);
