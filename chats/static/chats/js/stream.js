// Watches answers that are still being written, from this page or another, and takes the finished ones from the server.

import { hideProblem, isBusy, setAnswering, showProblem } from "./composer.js";
import { announceNew, has, isNewest, replace, replaceAll, say } from "./log.js";
import { ask, backoff } from "./request.js";
import { follow, open } from "./socket.js";

const main = document.getElementById("main");
const watched = new Set();
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
  const growingNow = document.querySelectorAll("article[data-reply]");
  if (growingNow.length <= 1) setAnswering(null);
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
  if (watched.has(reply)) return;
  watched.add(reply);
  setAnswering(article.dataset.stop);
  const { Growing } = await untilLoaded();
  const growing = new Growing(article, say);
  let last = Number(article.dataset.after);
  const whole = gatherer();
  const unfollow = follow(main.dataset.chat, reply, () => last, (received) => {
    const event = whole(received);
    if (!event) return;
    const replaces = event.type === "reply.snapshot" || event.type === "reply.restarted";
    // Numbers already seen come again after a reconnect; what replaces everything is right at any time.
    if (event.seq <= last && !replaces && event.type !== "reply.finished") return;
    last = event.seq;
    // Whoever answered in the lost attempt: it begins again with the model that was asked for.
    if (event.type === "reply.restarted") growing.tell("");
    if (replaces) growing.set(event.text, event.reasoning);
    else if (event.type === "text.delta") growing.add(event.text);
    else if (event.type === "reasoning.delta") growing.addReasoning(event.text);
    else if (event.type === "reply.fallback") growing.tell(event.notice);
    else if (event.type === "reply.finished") {
      unfollow();
      finish(article, growing);
    }
  });
}

function watchAll(root) {
  const found = root.matches?.("article[data-reply]") ? [root] : root.querySelectorAll("article[data-reply]");
  found.forEach(watch);
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

let isLooking = false;
async function catchUp(leaf) {
  if (isLooking || isBusy() || !leaf || (has(leaf) && !hasGap()) || !isNewest() || document.querySelector("[data-retry][data-sending], [data-edit], [data-panel], #log .htmx-request")) return;
  isLooking = true;
  try {
    replaceAll(await (await ask(location.pathname)).text());
  } catch {
    // The next news brings another try.
  }
  isLooking = false;
}

document.addEventListener("parley:chat", ({ detail: chat }) => {
  if (chat.title) showTitle(chat.title);
  catchUp(chat.current_leaf);
});
document.addEventListener("parley:signed-out", () => {
  showProblem("You are signed out. Sign in again in another tab, then reload this page; your text is kept.");
});
document.addEventListener("parley:new", ({ detail }) => watchAll(detail));
// When what brought it is done.
document.addEventListener("parley:new", ({ detail }) => setTimeout(() => hasGap() && catchUp(detail.dataset.message)));
document.addEventListener("htmx:load", ({ detail }) => detail.elt !== document.body && announceNew(detail.elt));

watchAll(document);
// Not before the page has had its breath: nothing on it waits for this.
setTimeout(() => open(main.dataset.chat ?? null), 250);
