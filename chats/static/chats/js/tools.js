// Servers of tools: rows for headers, a look that takes seconds, and what htmx could not do.

import { sentenceOf, UNREACHABLE } from "./uploads.js";

const spoken = document.getElementById("spoken");
const problem = document.querySelector("[data-problem]");

document.documentElement.dataset.script = "";

function say(text) {
  spoken.textContent = text;
}

// ---- the form: one empty row for a header is in view, and more on demand
const blankRows = [...document.querySelectorAll("[data-blank]")];
const addHeader = document.querySelector("[data-add-header]");

function showRow() {
  const row = blankRows.shift();
  if (row) row.hidden = false;
  if (addHeader) addHeader.hidden = !blankRows.length;
  return row;
}

for (const row of blankRows) row.hidden = true;
showRow();
addHeader?.addEventListener("click", () => showRow()?.querySelector("input").focus());

// ---- a form whose answer takes seconds says so, and is sent once
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-waits]");
  if (!form) return;
  if (form.ariaBusy === "true") {
    event.preventDefault();
    return;
  }
  const button = form.querySelector("button.primary");
  form.ariaBusy = "true";
  button.dataset.name = button.textContent;
  button.textContent = form.dataset.waits;
  say(form.dataset.waits);
});
// Back from the next page, it can be sent again.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-waits][aria-busy]")) {
    const button = form.querySelector("button.primary");
    form.ariaBusy = null;
    button.textContent = button.dataset.name;
  }
});

// ---- what was refused
function tell(sentence) {
  problem.querySelector("p").textContent = sentence;
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest" });
}

document.addEventListener("htmx:responseError", ({ detail }) => tell(sentenceOf(detail.xhr)));
document.addEventListener("htmx:sendError", () => tell(UNREACHABLE));
document.addEventListener("htmx:timeout", () => tell(UNREACHABLE));

function howItIs() {
  const sentences = [...document.querySelectorAll("#server-state .server-state")].map((state) => state.textContent);
  return sentences.join(" ").replace(/\s+/g, " ").trim();
}

// ---- what is heard, and where the focus goes when what had it was replaced
document.addEventListener("htmx:beforeRequest", ({ detail: { elt } }) => {
  problem.hidden = true;
  if (elt.matches("[data-look]")) say("Looking at the server.");
});
document.addEventListener("htmx:afterSettle", ({ detail: { requestConfig } }) => {
  const form = requestConfig?.elt;
  if (form?.matches("[data-look]")) say(howItIs());
  if (document.activeElement !== document.body) return;
  const row = document.getElementById(form?.closest("[data-tool]")?.id ?? "");
  (row?.querySelector(".tool-title") ?? document.querySelector("h1")).focus({ preventScroll: true });
});
