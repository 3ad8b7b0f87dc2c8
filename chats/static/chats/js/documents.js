// One's documents: uploads with their progress, by choosing and by dropping, and what htmx could not do.

const AT_ONCE = 2;
const UNREACHABLE = "The server can’t be reached. Try again in a moment.";
const FAILED = "Something broke on our side. Try this again.";
const OUTDATED = "This page has grown old. Reload it and try again.";
const FOLDER = "This is a folder. Drop the files that are in it.";
const EMPTY = "This file is empty.";

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

// As the server's `file_size` has it.
function sizeOf(bytes) {
  if (bytes < 1_000) return `${bytes} bytes`;
  let [value, unit] = [bytes / 1_000, "kB"];
  for (const larger of ["MB", "GB"]) {
    if (value < 1_000) break;
    [value, unit] = [value / 1_000, larger];
  }
  return `${value.toFixed(1).replace(/\.0$/, "")} ${unit}`;
}

// ---- a line for each file that is on its way, or was refused
const lines = document.querySelector("[data-lines]");

function newLine(name) {
  const line = document.getElementById("upload-line").content.firstElementChild.cloneNode(true);
  line.querySelector("[data-name]").textContent = name;
  line.querySelector("progress").setAttribute("aria-label", `Sent of ${name}`);
  line.querySelector("[data-dismiss]").setAttribute("aria-label", `Dismiss what is said about ${name}`);
  lines.append(line);
  lines.hidden = false;
  return line;
}

function removeLine(line) {
  line.remove();
  lines.hidden = !lines.childElementCount;
}

// `again` is what a second try does, where one makes sense.
function endLine(line, sentence, { isRefused = true, again } = {}) {
  const name = line.querySelector("[data-name]").textContent;
  line.classList.toggle("refused", isRefused);
  line.querySelector("[data-sentence]").textContent = sentence;
  line.querySelector("progress").hidden = true;
  line.querySelector("[data-dismiss]").hidden = false;
  const button = line.querySelector("[data-again]");
  button.hidden = !again;
  button.onclick = again ?? null;
  say(`${name}: ${sentence}`);
}

document.addEventListener("click", (event) => {
  const dismiss = event.target.closest("[data-dismiss]");
  if (!dismiss) return;
  removeLine(dismiss.closest("li"));
  document.querySelector("h1").focus();
});

// ---- sending
const waiting = [];
let running = 0;

function refusalOf(file, form) {
  const limit = Number(form.dataset.maxBytes);
  if (file.size > limit) return `Not sent: it has ${sizeOf(file.size)}, and at most ${sizeOf(limit)} are allowed. Split it, or leave something out.`;
  return file.size ? "" : EMPTY;
}

function add(form, file, sentence = refusalOf(file, form)) {
  const line = newLine(file.name);
  if (sentence) {
    endLine(line, sentence);
    return;
  }
  waiting.push({ form, file, line });
  sendNext();
}

function sendNext() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    send(waiting.shift());
  }
}

function send(item) {
  const { form, file, line } = item;
  const request = new XMLHttpRequest();
  const body = new FormData(form);
  const bar = line.querySelector("progress");
  body.set("file", file);
  request.open("POST", form.action);
  request.setRequestHeader("HX-Request", "true");
  request.upload.addEventListener("progress", ({ loaded, total }) => (bar.value = loaded / total));
  // All is sent, and the server looks at it.
  request.upload.addEventListener("load", () => bar.removeAttribute("value"));
  request.addEventListener("loadend", () => {
    running -= 1;
    finish(item, request);
    sendNext();
  });
  request.send(body);
}

function sendAgain(item) {
  const { line } = item;
  line.classList.remove("refused");
  line.querySelector("[data-sentence]").textContent = "";
  for (const control of line.querySelectorAll("[data-again], [data-dismiss]")) control.hidden = true;
  line.querySelector("progress").hidden = false;
  line.querySelector("progress").value = 0;
  waiting.push(item);
  sendNext();
}

function sentenceOf(request) {
  if (!request.status) return UNREACHABLE;
  if (request.getResponseHeader("Content-Type")?.startsWith("text/plain")) return request.responseText;
  return { 403: OUTDATED, 404: "This document was deleted.", 413: "This file is larger than allowed." }[request.status] ?? FAILED;
}

function finish({ form, file, line }, request) {
  if (request.status >= 400 || !request.status) {
    const isWorthIt = !request.status || request.status >= 500 || request.status === 429;
    endLine(line, sentenceOf(request), { again: isWorthIt && (() => sendAgain({ form, file, line })) });
    return;
  }
  const isNew = request.status === 201;
  showRow(request.responseText, { isNew });
  if (isNew) {
    removeLine(line);
    say(`${file.name} is uploaded.`);
  } else {
    endLine(line, "This file is already here.", { isRefused: false });
  }
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

addEventListener("beforeunload", (event) => running && event.preventDefault());

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

// ---- dropping, anywhere on the page
const hasFiles = (event) => upload && event.dataTransfer?.types.includes("Files");
let depth = 0;

function showDropping(isDropping) {
  document.body.toggleAttribute("data-dropping", isDropping);
  if (!isDropping) depth = 0;
}

document.addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  depth += 1;
  showDropping(true);
});
document.addEventListener("dragleave", (event) => {
  if (hasFiles(event)) showDropping(--depth > 0);
});
document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  showDropping(false);
  for (const item of event.dataTransfer.items) {
    const file = item.getAsFile();
    if (file) add(upload, file, item.webkitGetAsEntry?.()?.isDirectory ? FOLDER : refusalOf(file, upload));
  }
});

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
