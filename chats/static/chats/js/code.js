// Copy and wrap on blocks of code, and colours for the languages we know. Copies whole answers too.

import { say } from "./log.js";
import { ask, icon } from "./request.js";

const MAX_COLOURED = 50_000;
const DONE_FOR = 1_600;
const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work, 1));

function button(name, label) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(icon(name), label);
  return made;
}

// The clipboard is missing on plain http; then a hidden selection has to do.
function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  if (!isCopied) throw new Error("not copied");
}

async function copy(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyBySelection(text);
}

async function copyAndShow(control, getText) {
  const use = control.querySelector("use");
  const [sprite, name] = use.getAttribute("href").split("#");
  try {
    await copy(await getText());
    use.setAttribute("href", `${sprite}#check`);
    say("Copied.");
    setTimeout(() => use.setAttribute("href", `${sprite}#${name}`), DONE_FOR);
  } catch {
    say("Copying failed.");
    if (control.href) location.assign(control.href);
  }
}

function addActions(block) {
  const pre = block.querySelector("pre");
  const actions = document.createElement("div");
  const wrap = button("wrap", "Wrap");
  const copying = button("copy", "Copy");
  actions.className = "code-actions";
  wrap.setAttribute("aria-pressed", "false");
  wrap.addEventListener("click", () => wrap.setAttribute("aria-pressed", String(pre.classList.toggle("wrapped"))));
  copying.addEventListener("click", () => copyAndShow(copying, () => pre.textContent));
  actions.append(wrap, copying);
  block.append(actions);
}

async function colour(pre) {
  const { default: highlighter } = await import("../vendor/highlight-11.12.0/highlight.min.js");
  const language = pre.dataset.language.toLowerCase();
  const code = pre.querySelector("code");
  if (!highlighter.getLanguage(language) || code.textContent.length > MAX_COLOURED) return;
  whenIdle(() => {
    code.innerHTML = highlighter.highlight(code.textContent, { language, ignoreIllegals: true }).value;
  });
}

function enhance(root) {
  for (const block of root.querySelectorAll(".prose:not(.growing) .code:not(:has(.code-actions))")) {
    addActions(block);
    const pre = block.querySelector("pre[data-language]");
    if (pre) colour(pre);
  }
}

document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-copy]");
  if (!control) return;
  event.preventDefault();
  copyAndShow(control, async () => (await ask(control.href)).text());
});
document.addEventListener("parley:new", ({ detail }) => enhance(detail));
enhance(document);
