// The list of chats beside the conversation: hiding it, messages with an undo, and what htmx could not do.

const root = document.documentElement;
const collapse = document.querySelector("[data-collapse]");
const toasts = document.getElementById("toasts");
const list = document.getElementById("chat-list");
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

// ---- the list, renewed when nobody is busy with it
const isInUse = () => list.scrollTop > 200 || list.querySelector("details[open], .editing");
let listTimer;

export function refreshList(delay = SOON) {
  clearTimeout(listTimer);
  listTimer = setTimeout(() => {
    if (isInUse() || document.hidden) refreshList(LATER);
    else window.htmx?.trigger(document.body, "chats-changed");
  }, delay);
}

// Other chats say nothing to this page when they have answered.
function watchOthers() {
  if (list.querySelector(".chat-link:not([aria-current]) .dot")) refreshList(LATER);
}

list.addEventListener("htmx:afterSettle", watchOthers);

// ---- toasts stay while someone is about to use them
function keepFor(toast, seconds) {
  let timer;
  const start = () => (timer = setTimeout(() => toast.remove(), seconds * 1000));
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
watchOthers();
