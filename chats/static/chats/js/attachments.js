// The files of this chat: added by choosing, dropping and pasting, and how far the reading of each is.

import { goToNewChat, holdBack, isBusy, showProblem } from "./composer.js";
import { say } from "./log.js";
import { ask } from "./request.js";
import { receiveDrops, Uploads } from "./uploads.js";

const LOOK_AGAIN = 2_000;
const ON_ITS_WAY = "A file for this chat is still on its way. Send this when it is there.";
const SENDING = "Your message is on its way to a chat of its own. Add the file there.";
const ENDS = { ready: "is ready.", failed: "could not be read." };

const main = document.getElementById("main");
const form = document.getElementById("composer");
const box = form.elements.content;
const list = document.getElementById("attached");
const picker = document.querySelector("details[data-documents]");
const link = () => picker.querySelector("[data-attach]");

// ---- the server shows the list; what is the same stays, and with it an open menu and focus
function showItem(fresh) {
  const shown = document.getElementById(fresh.id);
  if (!shown) {
    list.append(fresh);
    return;
  }
  const [menu, freshMenu] = [shown, fresh].map((item) => item.querySelector("details"));
  if (menu && freshMenu) freshMenu.open = menu.open;
  if (shown.isEqualNode(fresh)) return;
  const hadFocus = shown.contains(document.activeElement);
  if (shown.dataset.status !== fresh.dataset.status && ENDS[fresh.dataset.status]) say(`${fresh.dataset.name} ${ENDS[fresh.dataset.status]}`);
  shown.replaceWith(fresh);
  if (hadFocus) fresh.querySelector("summary, a").focus({ preventScroll: true });
}

function showList(fresh) {
  const ids = new Set([...fresh.children].map((item) => item.id));
  for (const item of [...list.children]) {
    if (ids.has(item.id)) continue;
    if (item.contains(document.activeElement)) box.focus();
    item.remove();
  }
  for (const item of [...fresh.children]) showItem(item);
  // Last, where there are more than are shown.
  const more = document.getElementById("attached-more");
  if (more) list.append(more);
  list.toggleAttribute("data-unfinished", fresh.hasAttribute("data-unfinished"));
}

// ---- what may be chosen: ticked is what was, and what is new where only chosen documents are used
const boxes = (root) => [...root.querySelectorAll("[name=documents]")];

function showChoices(fresh, { isAdded }) {
  const known = new Map(boxes(picker).map((choice) => [choice.value, choice.checked]));
  const isSame = boxes(fresh).map((choice) => choice.value).join() === [...known.keys()].join();
  if (isSame && !isAdded) return;
  const isOn = isAdded || Boolean(picker.querySelector("[data-documents-switch]")?.checked);
  const isChosen = [...known.values()].includes(true);
  picker.querySelector(".menu-items").replaceWith(fresh.querySelector(".menu-items"));
  for (const choice of boxes(picker)) choice.checked = known.get(choice.value) ?? (isAdded && isChosen);
  const toggle = picker.querySelector("[data-documents-switch]");
  if (!toggle) return;
  toggle.checked = isOn;
  toggle.dispatchEvent(new Event("change", { bubbles: true }));
}

let timer;

async function look({ isAdded = false } = {}) {
  clearTimeout(timer);
  try {
    const response = await ask(`${link().href}?composer`);
    const template = document.createElement("template");
    template.innerHTML = await response.text();
    showList(template.content.querySelector("[data-attached]"));
    showChoices(template.content.querySelector("[data-documents]"), { isAdded });
  } catch (error) {
    // The next look tells; of what someone did it has to be told.
    if (isAdded) showProblem(error.message);
  }
  lookLater();
}

function lookLater() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (document.hidden) lookLater();
    else if (list.hasAttribute("data-unfinished")) look();
  }, LOOK_AGAIN);
}

// ---- adding
let newChat = ""; // the address of a chat that began with a file, until it is gone to

const uploads = new Uploads({ atOnce: 1, say, stored, dismissed: () => box.focus(), idle });
const target = {
  get maxBytes() {
    return Number(link().dataset.maxBytes);
  },
  address: () => (newChat ? `${newChat}documents/` : link().href),
  body() {
    if (!main.dataset.chat) holdBack(ON_ITS_WAY);
    const body = new FormData();
    body.set("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    if (!main.dataset.chat && form.elements.model) body.set("model", form.elements.model.value);
    return body;
  },
};

function stored(_, request) {
  if (!main.dataset.chat) newChat ||= request.getResponseHeader("HX-Push-Url");
  else look({ isAdded: true });
  return request.status === 201 ? "" : "This file is already in this chat.";
}

function idle() {
  if (main.dataset.chat) return;
  holdBack("");
  if (newChat) goToNewChat(newChat, uploads.refusals.join(" "));
}

function add(file, options) {
  // A message that is on its way makes another chat.
  if (!main.dataset.chat && isBusy()) showProblem(SENDING);
  else uploads.add(target, file, options);
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-attach]") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const input = document.createElement("input");
  Object.assign(input, { type: "file", multiple: true, accept: link().dataset.accept });
  input.addEventListener("change", () => [...input.files].forEach((file) => add(file)));
  input.click();
});
receiveDrops(add);
box.addEventListener("paste", (event) => {
  // What is copied from a table or a text may come as a picture too: then its text is meant.
  const { files, types } = event.clipboardData;
  if (!files.length || types.includes("text/plain")) return;
  event.preventDefault();
  [...files].forEach((file) => add(file));
});

// ---- again, and away
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-file-verb]");
  if (!button) return;
  event.preventDefault();
  const body = new FormData();
  body.set("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
  button.disabled = true;
  try {
    await ask(button.formAction, { method: "POST", body });
  } catch (error) {
    showProblem(error.message);
  }
  button.disabled = false;
  look();
});

document.addEventListener("visibilitychange", () => !document.hidden && list.hasAttribute("data-unfinished") && look());
lookLater();
