// The list of messages: puts fragments in, and keeps the reader's place while things around it grow.

const scroller = document.querySelector("[data-scroller]");
const log = document.getElementById("log");
const jump = document.querySelector("[data-jump]");
const spoken = document.getElementById("spoken");
const NEAR = 48;

// The scroller is a reversed column: its end is 0, and everything before is negative.
const isAtEnd = () => Math.abs(scroller.scrollTop) < NEAR;

export function goToEnd() {
  scroller.scrollTop = 0;
  jump.hidden = true;
}

// Where the reader is: what stands at the top, and how high. It holds until he scrolls. Measured anew before every change,
// the fractions of a pixel that scrolling rounds away would add up, and the text would creep.
let place = null;

function placeNow() {
  const frame = scroller.getBoundingClientRect();
  const anchor = document.elementFromPoint(frame.left + frame.width / 2, frame.top + 8);
  return { anchor, top: anchor?.getBoundingClientRect().top, scrollTop: scroller.scrollTop };
}

export function keepPlace(change) {
  if (isAtEnd()) {
    place = null;
    change();
    goToEnd();
    return;
  }
  if (!place?.anchor?.isConnected || place.scrollTop !== scroller.scrollTop) place = placeNow();
  change();
  if (!place.anchor?.isConnected) return;
  scroller.scrollTop += place.anchor.getBoundingClientRect().top - place.top;
  place.scrollTop = scroller.scrollTop;
}

export function offerJump() {
  if (!isAtEnd()) jump.hidden = false;
}

export function say(text) {
  spoken.textContent = text;
}

export const lastElement = () => [...log.querySelectorAll("[data-message]")].at(-1);

// The id of the message that the log ends with, null when there is none.
export const lastMessage = () => lastElement()?.dataset.message ?? null;

// Whether an element is that message, or a step with the result of a call that is.
export const holds = (element, id) => element.dataset.message === id || Boolean(element.querySelector(`[data-result="${id}"]`));

export const isNewest = () => !document.querySelector(".newest");

function elementsOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.children];
}

// Tells the other behaviours that something new is in the page.
export function announceNew(root) {
  window.htmx?.process(root);
  document.dispatchEvent(new CustomEvent("parley:new", { detail: root }));
}

export function append(html) {
  document.querySelector("[data-welcome]")?.remove();
  const fresh = elementsOf(html).filter((element) => !document.getElementById(element.id));
  log.append(...fresh);
  fresh.forEach(announceNew);
  goToEnd();
}

// Focus inside a message stays at the same control of what comes in its place, or else at the message.
function keepFocus(change) {
  const held = document.activeElement;
  const message = held.closest("#log > [data-message]");
  if (!message) {
    change();
    return;
  }
  const controlsOf = (root) => [...root.querySelectorAll(held.localName)];
  const place = controlsOf(message).indexOf(held);
  change();
  const fresh = document.getElementById(message.id);
  if (!fresh || document.activeElement === held) return;
  const same = (held.id && document.getElementById(held.id)) || controlsOf(fresh)[place];
  same?.focus({ preventScroll: true });
  if (same && document.activeElement === same) return;
  fresh.tabIndex = -1;
  fresh.focus({ preventScroll: true });
}

// What is open stays open.
function keepOpen(change) {
  const open = [...log.querySelectorAll("details[data-call][open]")].map(({ id }) => id);
  change();
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
}

export function replace(article, html) {
  // Another version may have come in its place.
  if (!article.isConnected) return;
  const fresh = elementsOf(html);
  keepFocus(() => keepPlace(() => keepOpen(() => article.replaceWith(...fresh))));
  fresh.forEach(announceNew);
}

// An answer in the place of one that may have had several steps.
export function replaceAnswer(article, html) {
  for (let above = article; above.hasAttribute("data-goes-on") && above.previousElementSibling?.matches("article"); ) {
    above = above.previousElementSibling;
    above.hidden = true;
  }
  for (const step of log.querySelectorAll(":scope > article[hidden]")) step.remove();
  replace(article, html);
}

// What is growing stays as it is: someone watches it, and it may be further on than what the server has stored.
function grownOf(element) {
  const shown = element.hasAttribute("data-reply") && document.getElementById(element.id);
  return shown && shown.dataset.reply === element.dataset.reply ? shown : element;
}

export function replaceAll(html) {
  keepFocus(() => keepPlace(() => keepOpen(() => log.replaceChildren(...elementsOf(html).map(grownOf)))));
  [...log.children].forEach(announceNew);
}

scroller.addEventListener("scroll", () => isAtEnd() && (jump.hidden = true), { passive: true });
jump.addEventListener("click", goToEnd);
