// The box one writes in: sends once, keeps the text until the server has it, and never loses a draft.

import { append, goToEnd, say } from "./log.js";
import { ask, backoff, lookForServer, newId } from "./request.js";

const main = document.getElementById("main");
const form = document.getElementById("composer");
const box = form.elements.content;
const counter = form.querySelector("[data-counter]");
const hint = form.querySelector("[data-hint]");
const stopButton = form.querySelector("[data-stop-button]");
const sendButton = form.querySelector("[data-send-button]");
const problem = document.querySelector("[data-problem]");
const problemText = document.querySelector("[data-problem-text]");
const problemRetry = document.querySelector("[data-problem-retry]");
const picker = document.querySelector("[data-picker]");
const documents = document.querySelector("details[data-documents]");
const tools = document.querySelector("details[data-tools]");
const maxBytes = Number(form.dataset.maxBytes);
const draftKeyOf = (chat) => `draft:${document.body.dataset.user}:${chat}`;
const draftKey = draftKeyOf(main.dataset.chat ?? "new");
const sentKey = `${draftKey}:sent`;
const problemKey = (key) => `${key}:problem`;
const encoder = new TextEncoder();

let isSending = false;
let isTried = false;
let isWaiting = false; // for the network or the server: then it is sent by itself
let failures = 0;
let obstacle = ""; // why nothing can be sent yet

export const isBusy = () => isSending;

// ---- what is kept in this browser; a browser that keeps nothing loses only the convenience
function recall(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

function remember(key, value) {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    return;
  }
}

// ---- problems
export function showProblem(text, { canRetry = false } = {}) {
  // The same again is not to be read out again.
  if (problemText.textContent !== text) problemText.textContent = text;
  problemRetry.hidden = !canRetry;
  problem.hidden = false;
}

export function hideProblem() {
  problem.hidden = true;
}

// Until this is called with "", nothing is sent, for that reason.
export function holdBack(reason) {
  if (obstacle && !reason) hideProblem();
  obstacle = reason;
}

// A new chat has come to be without a message: what is in the box goes along, and what is to be told there.
export function goToNewChat(address, sentence) {
  const key = draftKeyOf(address.split("/").at(-2));
  remember(key, box.value);
  remember(problemKey(key), sentence);
  remember(draftKey, "");
  remember(sentKey, "");
  location.assign(address);
}

// ---- size
function bytesOf(text) {
  return text.length * 3 < maxBytes ? text.length : encoder.encode(text).length;
}

function showCount() {
  const bytes = bytesOf(box.value);
  counter.hidden = bytes < maxBytes * 0.8;
  counter.classList.toggle("over", bytes > maxBytes);
  counter.textContent = `${bytes.toLocaleString("en")} of ${maxBytes.toLocaleString("en")} bytes`;
}

function grow() {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function renew() {
  showCount();
  grow();
}

export function fill(text) {
  box.value = text;
  box.dispatchEvent(new Event("input"));
  box.focus();
}

// ---- stop
// `waits` for approval: then something else can be sent as well, which stops it.
export function setAnswering(stopUrl, { waits = false } = {}) {
  const hadFocus = document.activeElement === stopButton;
  form.toggleAttribute("data-answering", Boolean(stopUrl));
  form.toggleAttribute("data-waiting", Boolean(stopUrl) && waits);
  if (waits) hint.hidden = true;
  if (stopUrl) stopButton.setAttribute("formaction", stopUrl);
  else {
    hint.hidden = true;
    if (hadFocus) box.focus();
    if (isWaiting) lookForServer();
  }
}

export const isAnswering = () => form.hasAttribute("data-answering");
const mustWait = () => isAnswering() && !form.hasAttribute("data-waiting");

export async function stop() {
  if (!isAnswering() || stopButton.disabled) return;
  stopButton.disabled = true;
  try {
    const body = new FormData();
    body.set("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    await ask(stopButton.formAction, { method: "POST", body });
  } catch (error) {
    showProblem(error.message);
  }
  stopButton.disabled = false;
}

// ---- send
function nameAnew() {
  form.elements.client_id.value = newId();
  remember(sentKey, "");
  isTried = false;
}

function waitNoMore() {
  isWaiting = false;
  failures = 0;
  hideProblem();
}

function acknowledge() {
  remember(draftKey, "");
  waitNoMore();
  box.value = "";
  nameAnew();
  renew();
}

async function accept(response) {
  const html = await response.text();
  if (!main.dataset.chat) {
    remember(draftKey, "");
    remember(sentKey, "");
    location.assign(response.headers.get("HX-Push-Url"));
    return;
  }
  acknowledge();
  append(html);
}

// The answer to a send may be lost, and what was sent be seen in the list of messages all the same.
function recogniseSent(root) {
  const id = CSS.escape(form.elements.client_id.value);
  if (isTried && !isSending && (root.matches?.(`[data-client-id="${id}"]`) || root.querySelector(`[data-client-id="${id}"]`))) acknowledge();
}

// Whether it arrived is not known: under the same id it is sent again, and is one message all the same.
function waitForServer() {
  isWaiting = true;
  showProblem("The server can’t be reached. This will be sent when it is back.", { canRetry: true });
  setTimeout(lookForServer, backoff(failures));
  failures += 1;
}

async function send() {
  const text = box.value;
  if (isSending || mustWait() || sendButton.disabled) return;
  if (!text.trim()) {
    box.focus();
    return;
  }
  if (bytesOf(text) > maxBytes) {
    showProblem(`This text is too long: at most ${maxBytes.toLocaleString("en")} bytes are allowed. Shorten it or send it in parts.`);
    return;
  }
  if (obstacle) {
    showProblem(obstacle);
    return;
  }
  if (!navigator.onLine) {
    isWaiting = true;
    showProblem("You are offline. This will be sent when you are back.", { canRetry: true });
    return;
  }
  isWaiting = false;
  isSending = true;
  isTried = true;
  // What is sent again after a reload must be known as the same.
  remember(draftKey, text);
  remember(sentKey, form.elements.client_id.value);
  form.toggleAttribute("data-sending", true);
  box.readOnly = true;
  try {
    await accept(await ask(form.action, { method: "POST", body: new FormData(form) }));
  } catch (error) {
    if (error.status === 0) waitForServer();
    else showProblem(error.message, { canRetry: true });
  }
  isSending = false;
  form.removeAttribute("data-sending");
  box.readOnly = false;
  document.dispatchEvent(new CustomEvent("parley:idle"));
}

function tellToWait() {
  hint.hidden = false;
  say(hint.textContent);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.submitter === stopButton) stop();
  else send();
});

box.addEventListener("keydown", (event) => {
  // 229 is what some input methods report for an Enter that only chooses a word.
  if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
  const sends = form.dataset.enterSends === "true" ? !event.shiftKey : event.ctrlKey || event.metaKey;
  if (!sends) return;
  event.preventDefault();
  if (!mustWait()) send();
  // A key held down since the message was sent asks for nothing.
  else if (box.value.trim() && !event.repeat) tellToWait();
});

box.addEventListener("input", () => {
  remember(draftKey, box.value);
  // Other words are another message.
  if ((isTried || isWaiting) && !isSending) {
    nameAnew();
    waitNoMore();
  }
  renew();
});

document.addEventListener("click", (event) => {
  const example = event.target.closest("[data-example]");
  if (!example || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  fill(example.dataset.example);
});

document.addEventListener("parley:reachable", () => isWaiting && send());
document.addEventListener("parley:chat-deleted", ({ detail: chatId }) => {
  if (chatId === main.dataset.chat) showProblem("This chat was deleted in another window. Your text is safe here.");
});

// ---- models
function showChoice(radio) {
  picker.querySelector("[data-picker-name]").textContent = radio.dataset.name;
  const without = tools?.querySelector("[data-without-tools]");
  if (without) without.hidden = "callsTools" in radio.dataset;
}

picker?.addEventListener("change", (event) => {
  if (event.target.name !== "model") return;
  showChoice(event.target);
  remember("model", event.target.value);
  // Asked of another model it is another request.
  if (!isSending) nameAnew();
});
picker?.addEventListener("click", (event) => {
  // A pointer's choice closes the list; the arrow keys of a keyboard only move through it.
  if (event.target.closest(".choice") && event.detail > 0) {
    picker.open = false;
    box.focus();
  }
});
picker?.querySelector("[data-picker-search]")?.addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase();
  for (const choice of picker.querySelectorAll(".choice")) choice.hidden = !choice.textContent.toLowerCase().includes(words);
});
picker?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  picker.open = false;
  box.focus();
});

// ---- documents
documents?.addEventListener("change", ({ target }) => {
  const toggle = documents.querySelector("[data-documents-switch]");
  // Who chooses documents wants them used.
  if (target !== toggle && target.checked) toggle.checked = true;
  const chosen = documents.querySelectorAll("[name=documents]:checked").length;
  const used = chosen ? `${chosen} document${chosen === 1 ? "" : "s"}` : "All documents";
  documents.querySelector("[data-documents-name]").textContent = toggle.checked ? used : "No documents";
  if (!isSending) nameAnew();
});

// ---- tools
tools?.addEventListener("change", () => {
  const all = tools.querySelectorAll("[name=tools]").length;
  const chosen = tools.querySelectorAll("[name=tools]:checked").length;
  const used = chosen ? `Tools of ${chosen} server${chosen === 1 ? "" : "s"}` : "No tools";
  tools.querySelector("[data-tools-name]").textContent = chosen === all ? "All tools" : used;
  if (!isSending) nameAnew();
});

if (!main.dataset.chat && picker) {
  const last = picker.querySelector(`input[value="${CSS.escape(recall("model"))}"]`);
  if (last) {
    last.checked = true;
    showChoice(last);
  }
}
if (!box.value) {
  box.value = recall(draftKey);
  isTried = Boolean(box.value && recall(sentKey));
  if (isTried) form.elements.client_id.value = recall(sentKey);
}
if (recall(problemKey(draftKey))) {
  showProblem(recall(problemKey(draftKey)));
  remember(problemKey(draftKey), "");
}
document.addEventListener("parley:new", ({ detail }) => recogniseSent(detail));
recogniseSent(document);
renew();
goToEnd();
if (matchMedia("(hover: hover)").matches) box.focus({ preventScroll: true });
