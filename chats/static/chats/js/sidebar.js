// The list of chats beside the conversation: hiding it, keeping it up to date, messages with an undo, and what htmx could
// not do.

import { say } from "./log.js";
import { isOpen } from "./socket.js";

const root = document.documentElement;
const collapse = document.querySelector("[data-collapse]");
const toasts = document.getElementById("toasts");
const list = document.getElementById("chat-list");
const search = document.getElementById("search");
const drawer = document.getElementById("sidebar");
const YEAR = 365 * 24 * 3600;
const SOON = 300;
const LATER = 4_000;

function showState() {
  const isClosed = root.dataset.sidebar === "closed";
  collapse.setAttribute("aria-expanded", String(!isClosed));
  collapse.setAttribute("aria-label", isClosed ? "Show the list of chats" : "Hide the list of chats");
}

collapse.addEventListener("click", () => {
  if (root.dataset.sidebar === "closed") delete root.dataset.sidebar;
  else root.dataset.sidebar = "closed";
  document.cookie = `sidebar=${root.dataset.sidebar ?? "open"};path=/;max-age=${YEAR};samesite=lax`;
  showState();
});

// ---- the list, kept up to date by what the socket says; asked for anew only where that is not enough
const isInUse = () => list.scrollTop > 200 || list.querySelector("details[open], .editing");
const rowOf = (chatId) => document.getElementById(`chat-${chatId}`);
let listTimer;

function refreshList(delay = SOON) {
  clearTimeout(listTimer);
  listTimer = setTimeout(() => {
    if (isInUse() || document.hidden) refreshList(LATER);
    else window.htmx?.trigger(document.body, "chats-changed");
  }, delay);
}

function showTitle(row, title) {
  // While it is renamed there is a field instead.
  if (row.matches(".editing")) return;
  row.querySelector(".chat-title").textContent = title;
  row.querySelector("summary").setAttribute("aria-label", `Options for ${title}`);
}

function mark(row, isAnswering, isWaiting) {
  const dot = row.querySelector(".dot");
  if (dot && isAnswering && dot.matches(".waits") === isWaiting) return;
  dot?.remove();
  const kind = isWaiting ? "waiting-dot" : "answering-dot";
  if (isAnswering) row.querySelector(".chat-link")?.append(document.getElementById(kind).content.cloneNode(true));
}

// The server alone knows the days: a row moves by itself only within today's.
function moveUp(row) {
  const group = row.closest(".chat-group").dataset.group;
  if (group === "Pinned" || row === list.querySelector("[data-group=Today] .chat-row")) return;
  if (isInUse() || group !== "Today") refreshList();
  else list.querySelector("[data-group=Today] ul").prepend(row);
}

// The list ends with a link to more of it, and what is older than all rows comes with that.
function isInSight(chat) {
  const isOlder = ({ dataset }) => Date.parse(dataset.updated) <= Date.parse(chat.updated_at);
  return !list.querySelector(".more") || [...list.querySelectorAll(".chat-row")].some(isOlder);
}

function showChange(chat) {
  const row = rowOf(chat.id);
  if (!row) {
    if (!chat.archived && !search.value && isInSight(chat)) refreshList();
    return;
  }
  const isPinned = row.closest(".chat-group").dataset.group === "Pinned";
  if (chat.archived || (chat.pinned !== isPinned && !search.value)) refreshList();
  if (chat.title) showTitle(row, chat.title);
  mark(row, chat.is_answering, chat.is_waiting);
  if (Date.parse(chat.updated_at) > Date.parse(row.dataset.updated)) {
    row.dataset.updated = chat.updated_at;
    moveUp(row);
  }
}

document.addEventListener("parley:chat-changed", ({ detail: chat }) => showChange(chat));
document.addEventListener("parley:chat-deleted", ({ detail: chatId }) => {
  const row = rowOf(chatId);
  // Deleted from here, the row waits for the answer, which brings the undo.
  if (row && !row.querySelector(".htmx-request")) row.remove();
});
document.addEventListener("parley:reconnected", () => refreshList());
document.addEventListener("parley:answering", ({ detail: { answering, waiting } }) => {
  for (const row of list.querySelectorAll(".chat-row")) {
    const chat = row.id.slice("chat-".length);
    mark(row, answering.includes(chat), waiting.includes(chat));
  }
});

// Where no socket can be opened, chats that are answering are asked after.
setInterval(() => !isOpen() && list.querySelector(".dot") && refreshList(0), LATER);

// ---- toasts stay while someone is about to use them
function keepFor(toast, seconds) {
  let timer;
  const start = () => {
    clearTimeout(timer);
    if (!toast.matches(":hover, :focus-within")) timer = setTimeout(() => toast.remove(), seconds * 1000);
  };
  const hold = () => clearTimeout(timer);
  toast.addEventListener("pointerenter", hold);
  toast.addEventListener("pointerleave", start);
  toast.addEventListener("focusin", hold);
  toast.addEventListener("focusout", start);
  start();
}

// The drawer of a phone lies in the browser's top layer: only what comes into that layer later is seen above it, and a
// press on anything that is not inside the drawer closes it.
toasts.popover = "manual";

function raise() {
  if (toasts.matches(":popover-open")) toasts.hidePopover();
  const place = drawer.matches(":popover-open") ? drawer : document.body;
  if (toasts.parentElement !== place) place.append(toasts);
  if (toasts.childElementCount) toasts.showPopover();
}

drawer.addEventListener("toggle", raise);

function watchToasts() {
  for (const toast of toasts.querySelectorAll("[data-toast]:not([data-timed])")) {
    toast.dataset.timed = "";
    keepFor(toast, Number(toast.dataset.toast));
    raise();
    // What comes into view with its words in it, many readers don't read.
    say(toast.querySelector("p").textContent);
  }
}

function tell(sentence) {
  const toast = document.createElement("div");
  const text = document.createElement("p");
  toast.className = "toast";
  toast.dataset.toast = "8";
  text.textContent = sentence;
  toast.append(text);
  toasts.append(toast);
}

new MutationObserver(watchToasts).observe(toasts, { childList: true });

document.addEventListener("htmx:responseError", ({ detail: { xhr } }) => {
  const isSentence = xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
  tell(isSentence ? xhr.responseText : "That did not work. Reload the page and try again.");
});
document.addEventListener("htmx:sendError", () => tell("The server can’t be reached. Try again in a moment."));

// ---- the row of the chat one reads carries its title
document.addEventListener("htmx:afterSwap", () => {
  const title = document.querySelector(".chat-link[aria-current=page] .chat-title")?.textContent;
  const heading = document.querySelector("[data-title]");
  if (!title || title === heading.textContent) return;
  heading.textContent = title;
  document.title = `${title} · Parley`;
});

// ---- focus comes back to where a form in the list was
document.addEventListener("htmx:afterSettle", ({ detail: { elt } }) => {
  if (document.activeElement === document.body) elt.querySelector?.(":scope.chat-row input, :scope.chat-row .chat-link")?.focus();
});

showState();
watchToasts();
