// Menus that close as one expects, and shortcuts.

import { isAnswering, stop } from "./composer.js";

const shortcuts = document.getElementById("shortcuts");
const search = document.getElementById("search");
const sidebar = document.getElementById("sidebar");
const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

for (const key of document.querySelectorAll("[data-command]")) key.textContent = isMac ? "⌘" : "Ctrl";
for (const key of document.querySelectorAll("[data-keys]")) {
  key.textContent = `${isMac ? "⌘" : "Ctrl "}${key.dataset.keys}`;
  key.hidden = false;
}

const openMenus = () => document.querySelectorAll("details.menu[open]");

document.addEventListener("click", (event) => {
  for (const menu of openMenus()) {
    if (!menu.contains(event.target) || event.target.closest(".menu-item")) menu.open = false;
  }
  if (event.target.closest("[data-shortcuts]")) shortcuts.showModal();
});
document.addEventListener("toggle", (event) => {
  if (event.target.matches?.("details.menu[open]")) event.target.querySelector(".menu-items").scrollIntoView({ block: "nearest" });
}, true);

function closeMenu() {
  const menu = [...openMenus()].at(-1);
  if (!menu) return false;
  menu.open = false;
  menu.querySelector("summary").focus();
  return true;
}

function escape(event) {
  if (shortcuts.open || sidebar.matches(":popover-open")) return;
  const cancel = event.target.closest?.("[data-rename], [data-edit], [data-panel]")?.querySelector("[data-cancel]");
  if (cancel) {
    // What was swapped in a moment ago may have focus before htmx has looked at it: its link would only be followed.
    window.htmx?.process(cancel);
    cancel.click();
  }
  // Who leaves the field of a reason has not given up on the answer.
  else if (!closeMenu() && isAnswering() && !event.target.closest?.("[data-call]")) stop();
}

function findChat() {
  document.documentElement.removeAttribute("data-sidebar");
  if (getComputedStyle(sidebar).display === "none") sidebar.showPopover();
  search.focus();
  search.select();
}

const isTyping = (target) => target.matches?.("input, textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (event.key === "Escape") escape(event);
  else if (command && !event.shiftKey && key === "k") {
    event.preventDefault();
    findChat();
  } else if (command && event.shiftKey && key === "o") {
    event.preventDefault();
    document.querySelector("[data-new-chat]").click();
  } else if (!command && !event.altKey && !isTyping(event.target) && !shortcuts.open) {
    if (event.key === "?") shortcuts.showModal();
    else if (event.key === "/") {
      event.preventDefault();
      document.getElementById("content").focus();
    }
  }
});
