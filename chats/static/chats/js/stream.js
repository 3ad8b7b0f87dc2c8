// Watches answers that are still being written, from this page or another, and takes the finished ones from the server.

import { hideProblem, isBusy, setAnswering, showProblem } from "./composer.js";
import { announceNew, holds, isNewest, lastElement, lastMessage, replace, replaceAll, replaceAnswer, say } from "./log.js";
import { ask, backoff, untilAnswered } from "./request.js";
import { follow, open } from "./socket.js";

const main = document.getElementById("main");
const log = document.getElementById("log");
const watched = new Map(); // by reply: its article, and what ends the watching
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Formatting is only needed where something streams, calls only where some are; the network may be away at that moment.
async function untilLoaded(load) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await load();
    } catch {
      await pause(backoff(attempt));
    }
  }
}

const loadCalls = () => untilLoaded(() => import("./calls.js"));

// What it has come to, from the server: this step and those that have followed on it.
async function renew(article, growing) {
  growing.end();
  const { reply, message } = article.dataset;
  try {
    replace(article, await untilAnswered(`/replies/${reply}/?from=${message}`));
  } catch {
    article.removeAttribute("data-reply");
  }
}

function finish(article, growing) {
  article.removeAttribute("data-stop");
  showAnswering();
  renew(article, growing);
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
  const { Growing } = await untilLoaded(() => import("./growing.js"));
  if (watched.get(reply) !== entry) return;
  const growing = (entry.growing = new Growing(article, say));
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
    if (replaces && event.message && event.message !== article.dataset.message) {
      // Another step: what stands stays above it.
      unfollow();
      renew(article, growing);
      return;
    }
    // What replaces the text may stand for events of calls too.
    if (event.type.startsWith("tool.") || (replaces && (event.calls || article.querySelector("[data-call]")))) {
      growing.heard = Date.now();
      loadCalls().then(({ hear }) => hear(article, event));
    }
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
  const article = [...log.querySelectorAll("article[data-stop]")].at(-1);
  setAnswering(article?.dataset.stop ?? null, { waits: Boolean(article?.hasAttribute("data-waiting")) });
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
  if (log.querySelector("[data-call]")) loadCalls();
  announceWaiting();
}

const waitingCalls = () => [...log.querySelectorAll("[data-state=waiting]")];
const announced = new Set(waitingCalls().map(({ id }) => id));

// Each once, whether an event has brought it or a page that was further on; what was there from the beginning is read with it.
function announceWaiting() {
  const fresh = waitingCalls().filter(({ id }) => !announced.has(id));
  if (!fresh.length) return;
  fresh.forEach(({ id }) => announced.add(id));
  say(`${fresh.map(({ dataset }) => dataset.name).join(", ")} ${fresh.length === 1 ? "waits" : "wait"} for your approval.`);
}

document.addEventListener("parley:calls", ({ detail: article }) => {
  showAnswering();
  announceWaiting();
  watched.get(article.dataset.reply)?.growing?.tick();
});

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
    replaceAnswer(form.closest("article"), await (await ask(form.action, { method: "POST", body })).text());
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
  const isApart = ({ dataset, previousElementSibling: before }) => (before ? Boolean(before.dataset.message) && !holds(before, dataset.parent) : dataset.parent !== "");
  return [...document.querySelectorAll("#log [data-parent]")].some(isApart);
}

// What the log is to end with, as long as nobody has looked: null in an empty chat, undefined when there is no news.
let wanted;
let isLooking = false;

const isOccupied = () => isBusy() || Boolean(document.querySelector("[data-retry][data-sending], [data-edit], [data-panel], #log .htmx-request"));

const isUpToDate = (leaf) => (lastElement() ? holds(lastElement(), leaf) : leaf === null) && !hasGap();

async function catchUp() {
  if (wanted === undefined || isLooking || isOccupied() || !isNewest()) return;
  const leaf = wanted;
  wanted = undefined;
  if (isUpToDate(leaf)) return;
  isLooking = true;
  try {
    // What has come of its calls, nobody tells while it waits.
    if (lastElement()?.matches("[data-reply]:has([data-call])")) await (await loadCalls()).look(lastElement());
    if (isUpToDate(leaf)) {
      isLooking = false;
      catchUp();
      return;
    }
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
