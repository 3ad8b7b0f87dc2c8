// One's documents: uploads with their progress, by choosing and by dropping, and what htmx could not do.

import { receiveDrops, sentenceOf, UNREACHABLE, Uploads } from "./uploads.js";

const AT_ONCE = 2;
const upload = document.getElementById("upload");
const spoken = document.getElementById("spoken");
const problem = document.querySelector("[data-problem]");

document.documentElement.dataset.script = "";

function say(text) {
  spoken.textContent = text;
}

function tell(sentence) {
  problem.querySelector("p").textContent = sentence;
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest" });
}

// ---- sending
const uploads =
  document.querySelector("[data-lines]") &&
  new Uploads({ atOnce: AT_ONCE, say, stored: showStored, dismissed: () => document.querySelector("h1").focus() });

function add(form, file, options) {
  const target = { maxBytes: Number(form.dataset.maxBytes), address: () => form.action, body: () => new FormData(form) };
  uploads.add(target, file, options);
}

function showStored(_, request) {
  const isNew = request.status === 201;
  showRow(request.responseText, { isNew });
  return isNew ? "" : "This file is already here.";
}

// Where the row is in view it is replaced; a new one stands first. One that is further down is found there.
function showRow(html, { isNew }) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const { id } = template.content.querySelector("li");
  const shown = document.getElementById(id);
  const hadFocus = shown?.contains(document.activeElement);
  if (shown) window.htmx.swap(shown, html, { swapStyle: "outerHTML", settleDelay: 0 });
  else if (isNew) window.htmx.swap("#documents", html, { swapStyle: "afterbegin", settleDelay: 0 });
  if (hadFocus) document.getElementById(id).querySelector("summary").focus();
}

// ---- choosing
if (upload) {
  const input = upload.querySelector("[type=file]");
  upload.querySelector("[data-files]").hidden = true;
  upload.querySelector("[data-submit]").hidden = true;
  input.addEventListener("change", () => {
    for (const file of input.files) add(upload, file);
    input.value = "";
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-choose]")) return;
    event.preventDefault();
    input.click();
  });
  // Enter in the field of the space.
  upload.addEventListener("submit", (event) => event.preventDefault());
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-upload][data-panel]");
  if (!form) return;
  event.preventDefault();
  const [file] = form.querySelector("[type=file]").files;
  closePanel(form);
  add(form, file);
});

if (upload) receiveDrops((file, options) => add(upload, file, options));

// ---- progress is asked for while there is some, and someone looks
// As the server's ROWS_ASKED_MAX. The newest stand first, and are read last.
const ROWS_ASKED = 100;

function rowsToAsk() {
  const unfinished = [...document.querySelectorAll("[data-unfinished]")].reverse();
  const isUnderWay = (state) => state.dataset.status === "indexing";
  return [...unfinished.filter(isUnderWay), ...unfinished.filter((state) => !isUnderWay(state))].slice(0, ROWS_ASKED);
}

document.addEventListener("htmx:configRequest", (event) => {
  const { elt, formData } = event.detail;
  if (!elt.matches("[data-progress]")) return;
  const asked = rowsToAsk();
  for (const state of asked) formData.append("row", state.dataset.unfinished);
  if (document.hidden || !asked.length) event.preventDefault();
});
const ENDS = { ready: "is ready.", failed: "could not be read." };
document.addEventListener("htmx:oobBeforeSwap", ({ detail: { target, fragment } }) => {
  const end = ENDS[fragment.querySelector("[data-status]")?.dataset.status];
  if (end) say(`${target.closest("li")?.querySelector(".document-name")?.textContent ?? "A document"} ${end}`);
});

// ---- what was refused
const isProgress = ({ requestConfig }) => requestConfig.elt.matches("[data-progress]");
document.addEventListener("htmx:responseError", ({ detail }) => isProgress(detail) || tell(sentenceOf(detail.xhr)));
document.addEventListener("htmx:sendError", ({ detail }) => isProgress(detail) || tell(UNREACHABLE));

// ---- panels and menus close as one expects, and focus goes where the action went
function closePanel(panel) {
  const row = panel.closest("li");
  panel.remove();
  row.querySelector("summary").focus();
}

const openMenus = () => document.querySelectorAll("details.menu[open]");

document.addEventListener("click", (event) => {
  for (const menu of openMenus()) {
    if (!menu.contains(event.target) || event.target.closest(".menu-item")) menu.open = false;
  }
  const panel = event.target.closest("[data-panel] [data-cancel]")?.closest("[data-panel]");
  if (!panel) return;
  event.preventDefault();
  closePanel(panel);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  const cancel = event.target.closest?.("[data-rename], [data-panel]")?.querySelector("[data-cancel]");
  const menu = [...openMenus()].at(-1);
  if (cancel) cancel.click();
  else if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// One question at a time in a row, and one refusal.
document.addEventListener("htmx:beforeRequest", ({ detail: { target, requestConfig } }) => {
  if (!isProgress({ requestConfig })) problem.hidden = true;
  if (requestConfig.verb === "get" && target.matches?.(".document-row")) target.querySelector("[data-panel]")?.remove();
});
document.addEventListener("htmx:load", ({ detail: { elt } }) => {
  if (!elt.matches?.("[data-panel]")) return;
  elt.querySelector("[autofocus]").focus({ preventScroll: true });
  elt.scrollIntoView({ block: "nearest" });
});
// Only what someone did moves the focus: not progress, and not a list that grows as it is scrolled.
document.addEventListener("htmx:afterSettle", ({ detail: { elt, requestConfig } }) => {
  const wasAsked = requestConfig && !isProgress({ requestConfig }) && requestConfig.triggeringEvent?.type !== "intersect";
  if (!wasAsked || document.activeElement !== document.body) return;
  const row = elt.closest?.(".document-row");
  const place = row?.querySelector("input:not([type=hidden]), .document-name") ?? document.querySelector("h1");
  place.focus({ preventScroll: true });
});
