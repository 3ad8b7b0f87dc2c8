// Versions of a message: the one chosen stays where the last one stood, and focus goes where the action went.

import { goToEnd } from "./log.js";

const scroller = document.querySelector("[data-scroller]");
const log = document.getElementById("log");
const box = document.getElementById("content");

let kept = null;

const groupOf = (key) => log.querySelector(`[data-siblings="${key}"]`);

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target !== log) return;
  const group = detail.requestConfig.elt.closest("[data-siblings]");
  kept = group && { key: group.dataset.siblings, control: detail.requestConfig.elt.id, top: group.getBoundingClientRect().top };
});

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target !== log) return;
  const group = kept && groupOf(kept.key);
  if (group) {
    scroller.scrollTop += group.getBoundingClientRect().top - kept.top;
    document.getElementById(kept.control)?.focus({ preventScroll: true });
  } else {
    goToEnd();
    box.focus({ preventScroll: true });
  }
  kept = null;
});

// ---- what opens below or in the place of a message: the message stays where it is, as far as the form has room below
let opening = null;

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target.matches("article[data-message]")) opening = { id: detail.target.id, top: detail.target.getBoundingClientRect().top };
});

function open(element) {
  const article = element.closest("article[data-message]");
  // What grows in a scroller that counts from its end pushes up what is above it, and the browser brings a field that has
  // focus to the middle.
  if (article && article.id === opening?.id) scroller.scrollTop += article.getBoundingClientRect().top - opening.top;
  opening = null;
  const field = element.querySelector("[autofocus]");
  field?.focus({ preventScroll: true });
  if (field?.matches("textarea")) field.setSelectionRange(field.value.length, field.value.length);
  element.scrollIntoView({ block: "nearest" });
}

document.addEventListener("htmx:load", ({ detail: { elt } }) => {
  if (elt.matches?.("article.editing, [data-panel]")) open(elt);
});

// One question at a time below a message.
document.addEventListener("htmx:beforeRequest", ({ detail: { target, requestConfig } }) => {
  if (requestConfig.verb === "get" && target.matches?.("article")) target.querySelector("[data-panel]")?.remove();
});

document.addEventListener("click", (event) => {
  const cancel = event.target.closest("[data-panel] [data-cancel]");
  if (!cancel || !cancel.closest("article")) return;
  event.preventDefault();
  const article = cancel.closest("article");
  cancel.closest("[data-panel]").remove();
  article.querySelector(".meta summary")?.focus();
  document.dispatchEvent(new CustomEvent("parley:idle"));
});

// An edit that is left gives focus back to its pencil, or to the box where it was asked for.
let isFromBox = false;

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (!detail.requestConfig.elt.matches("[data-edit] [data-cancel]")) return;
  const message = detail.requestConfig.elt.closest("[data-edit]").action.split("/").at(-3);
  const pencil = document.querySelector(`#message-${message} [data-edit-link]`);
  (isFromBox ? box : pencil)?.focus({ preventScroll: isFromBox });
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-edit-link]")) isFromBox = false;
});

box.addEventListener("keydown", (event) => {
  const hasModifier = event.shiftKey || event.ctrlKey || event.metaKey || event.altKey;
  if (event.key !== "ArrowUp" || box.value || hasModifier || event.isComposing) return;
  const pencil = [...log.querySelectorAll("[data-edit-link]")].at(-1);
  if (!pencil || !window.htmx) return;
  event.preventDefault();
  pencil.click();
  isFromBox = true;
});

document.addEventListener("keydown", (event) => {
  const form = event.target.closest?.("[data-edit]");
  if (!form || !event.target.matches("textarea") || event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
  const sends = "enterSends" in form.dataset ? !event.shiftKey : event.ctrlKey || event.metaKey;
  if (!sends) return;
  event.preventDefault();
  form.requestSubmit();
});
