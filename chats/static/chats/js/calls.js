// Calls of tools: what opens is fetched, what runs says for how long, and each step is shown as the server has it.

import { announceNew, keepPlace } from "./log.js";
import { ask, untilAnswered } from "./request.js";

const SOON = 80;
const PROGRESS_CHARACTERS = 200;
const scroller = document.querySelector("[data-scroller]");
const log = document.getElementById("log");
const callOf = (id) => document.getElementById(`call-${id}`);

// ---- what opens: its line stays where it is, wherever the reader has scrolled to
let pressed = null;

function keepTop(element, top) {
  scroller.scrollTop += element.getBoundingClientRect().top - top;
}

async function open(details) {
  const body = details.querySelector("[data-call-body]");
  if (body.hasAttribute("data-loaded")) return;
  body.dataset.loaded = "";
  try {
    const html = await (await ask(body.querySelector("a").href)).text();
    const { top } = details.getBoundingClientRect();
    body.innerHTML = html;
    keepTop(details, top);
  } catch {
    // There is still a link to it.
    delete body.dataset.loaded;
  }
}

document.addEventListener("click", ({ target }) => {
  const details = target.closest("summary")?.closest("details[data-call]");
  pressed = details && { details, top: details.getBoundingClientRect().top };
});
document.addEventListener("toggle", ({ target }) => {
  if (!target.matches?.("details[data-call]")) return;
  if (pressed?.details === target) keepTop(target, pressed.top);
  pressed = null;
  if (target.open) open(target);
}, true);

// ---- how long it has been running, by the clock of the server when it was shown
const shownAt = new WeakMap();

function inWords(seconds) {
  return seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

function tick() {
  for (const time of log.querySelectorAll("[data-seconds]")) {
    if (!shownAt.has(time)) shownAt.set(time, Date.now());
    time.textContent = inWords(Number(time.dataset.seconds) + Math.floor((Date.now() - shownAt.get(time)) / 1000));
  }
}

// ---- how far it is, as its server says; that may be before it is shown to run
const progressOf = new Map();

function showProgress(call) {
  const place = callOf(call)?.querySelector("[data-progress]");
  if (place) place.textContent = progressOf.get(call) ?? "";
  else if (callOf(call)) progressOf.delete(call);
}

function hearProgress({ call, progress, total, message }) {
  const done = total ? `${Math.min(100, Math.round((100 * progress) / total))} %` : "";
  progressOf.set(call, [done, (message ?? "").slice(0, PROGRESS_CHARACTERS)].filter(Boolean).join(" · "));
  showProgress(call);
}

// ---- what the server shows of a step; what is the same stays, and with it what is open and what is written
function showCall(shown, fresh) {
  if (fresh.dataset.result) shown.dataset.result = fresh.dataset.result;
  if (shown.dataset.state === fresh.dataset.state || shown.querySelector(".htmx-request")) return;
  const hadFocus = shown.contains(document.activeElement);
  if (shown.open) fresh.open = true;
  shown.replaceWith(fresh);
  if (hadFocus) focusOn(fresh);
  announceNew(fresh);
}

function focusOn(call) {
  (call.querySelector("summary") ?? call).focus({ preventScroll: true });
}

function showStep(article, html) {
  const list = article.querySelector("[data-calls]");
  const template = document.createElement("template");
  template.innerHTML = html;
  keepPlace(() => {
    for (const fresh of template.content.querySelectorAll("[data-call]")) {
      const shown = callOf(fresh.dataset.call);
      if (shown) showCall(shown, fresh);
      else {
        list.append(fresh);
        announceNew(fresh);
      }
      showProgress(fresh.dataset.call);
    }
    markWaiting(article);
    tick();
  });
}

function markWaiting(article) {
  const states = [...article.querySelectorAll("[data-call]")].map(({ dataset }) => dataset.state);
  const isWorking = states.includes("running") || states.includes("ready");
  article.toggleAttribute("data-waiting", states.includes("waiting") && !isWorking);
  document.dispatchEvent(new CustomEvent("parley:calls", { detail: article }));
}

// ---- keeping up: events say that something has changed, and the server what
const looks = new WeakMap(); // by article: whether one is under way, and whether another is wanted

export async function look(article) {
  const state = looks.get(article) ?? { isLooking: false, isWanted: false };
  looks.set(article, state);
  state.isWanted = true;
  if (state.isLooking) return;
  state.isLooking = true;
  try {
    while (state.isWanted && article.isConnected) {
      state.isWanted = false;
      const html = await untilAnswered(`/messages/${article.dataset.message}/calls/`);
      if (article.isConnected) showStep(article, html);
    }
  } catch {
    // It is gone, and whoever removed it says so.
  }
  state.isLooking = false;
}

const timers = new WeakMap();

function lookSoon(article) {
  clearTimeout(timers.get(article));
  timers.set(article, setTimeout(() => look(article), SOON));
}

// An event of a call in this step.
export function hear(article, event) {
  if (event.type === "tool.progress") hearProgress(event);
  else lookSoon(article);
}

// ---- what someone has decided here: focus stays with the call, and what follows from it is shown
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  const call = detail.target.dataset?.call && callOf(detail.target.dataset.call);
  if (!call) return;
  if (document.activeElement === document.body) focusOn(call);
  const article = call.closest("article");
  markWaiting(article);
  tick();
  if (article.dataset.reply) lookSoon(article);
});

for (const details of log.querySelectorAll("details[data-call][open]")) open(details);
setInterval(tick, 1000);
tick();
