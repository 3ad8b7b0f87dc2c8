// Text that is still being written: only its last block is formatted again, at most once a frame.

import { keepPlace, offerJump } from "./log.js";
import { Draft } from "./markdown.js";

const SILENCE = 10_000;
const SPOKEN_EVERY = 2_000;
const QUEUED_SECONDS = 5;
const SENTENCE = /[.!?。！？…]["»”')\]]*(?=\s)|[。！？]|\n{2,}/g;

// As templates/chats/source.html has it.
function sourceItem(source, address) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  const number = document.createElement("span");
  const name = document.createElement("span");
  const place = new URLSearchParams({ version: source.version_number, start: source.start, end: source.end });
  item.dataset.source = source.number;
  item.hidden = true;
  link.className = "source";
  link.href = `${address}${source.document}/?${place}#passage`;
  link.title = source.text;
  number.className = "source-number";
  number.textContent = source.number;
  name.dir = "auto";
  name.textContent = source.page ? `${source.name}, page ${source.page}` : source.name;
  link.append(number, name);
  item.append(link);
  return item;
}

export class Growing {
  constructor(article, say) {
    this.article = article;
    this.prose = article.querySelector("[data-text]");
    this.reasoning = article.querySelector("[data-reasoning]");
    this.working = article.querySelector("[data-working]");
    this.label = article.querySelector("[data-working-label]");
    this.say = say;
    this.started = Date.now();
    this.heard = this.started;
    this.hasBegun = article.hasAttribute("data-begun"); // whether any server has taken it up
    this.text = article.querySelector("[data-raw]").textContent;
    this.spokenTo = this.text.length;
    this.spokenAt = 0;
    this.cost = 0;
    this.draft = new Draft(this.prose);
    this.sources = article.querySelector("[data-sources]");
    this.knowSources();
    this.clock = setInterval(() => this.tick(), 1000);
    if (this.text) this.draw();
    this.tick();
  }

  set(text, reasoning) {
    this.heard = Date.now();
    this.text = text;
    this.spokenTo = Math.min(this.spokenTo, text.length);
    this.draft.restart();
    if (reasoning !== undefined) this.showReasoning(reasoning);
    this.schedule();
  }

  add(text) {
    this.heard = Date.now();
    this.text += text;
    this.schedule();
  }

  addReasoning(text) {
    this.heard = Date.now();
    this.showReasoning(this.reasoning.textContent + text);
  }

  showReasoning(text) {
    keepPlace(() => {
      this.reasoning.textContent = text;
      this.reasoning.closest("details").hidden = !text;
    });
  }

  // What was found in documents: shown as soon as the text refers to it.
  showSources(sources, address) {
    this.heard = Date.now();
    const list = this.sources.querySelector("[data-source-list]");
    // Those of a later call come by themselves, and some stand here from the server.
    for (const source of sources) {
      if (!list.querySelector(`[data-source="${Number(source.number)}"]`)) list.append(sourceItem(source, address));
    }
    this.knowSources();
    this.schedule();
  }

  knowSources() {
    const items = [...this.sources.querySelectorAll("[data-source]")];
    this.draft.sources = new Map(items.map((item) => [item.dataset.source, { url: item.querySelector("a")?.getAttribute("href"), label: item.querySelector("[dir]").textContent }]));
  }

  showCited() {
    for (const item of this.sources.querySelectorAll("[data-source]")) {
      if (item.hidden && this.prose.querySelector(`.citation[aria-label^="Source ${item.dataset.source}:"]`)) item.hidden = false;
    }
    this.sources.hidden = !this.sources.querySelector("[data-source]:not([hidden])");
  }

  // One sentence on how the answer comes about, such as that another model writes it.
  tell(notice) {
    this.heard = Date.now();
    const line = this.article.querySelector("[data-notice]");
    line.lastElementChild.textContent = notice;
    line.hidden = !notice;
    if (notice) this.say(notice);
  }

  schedule() {
    if (this.isScheduled || this.isEnded) return;
    this.isScheduled = true;
    // Text that is dear to format is formatted less often, so that the page stays quick.
    setTimeout(() => requestAnimationFrame(() => this.draw()), this.cost > 8 ? this.cost * 4 : 0);
  }

  draw() {
    this.isScheduled = false;
    if (this.isEnded) return;
    const start = performance.now();
    keepPlace(() => {
      this.draft.show(this.text);
      if (this.draft.sources.size) this.showCited();
      this.tick();
    });
    this.cost = performance.now() - start;
    offerJump();
    this.speak(false);
  }

  tick() {
    const silent = Date.now() - this.heard;
    const seconds = Math.round((Date.now() - this.started) / 1000);
    const calls = [...this.article.querySelectorAll("[data-call]")].map(({ dataset }) => dataset.state);
    if (calls.length) {
      // What runs or waits says so itself; once all is over the model reads what has come of it.
      this.label.textContent = `Thinking … ${Math.round(silent / 1000)} s`;
      this.working.hidden = ["running", "ready", "waiting"].some((state) => calls.includes(state));
      return;
    }
    if (!this.text && !this.hasBegun && seconds >= QUEUED_SECONDS) this.label.textContent = `Waiting for a server that is free … ${seconds} s`;
    else if (!this.text) this.label.textContent = `Thinking … ${seconds} s`;
    else this.label.textContent = "Still working …";
    this.working.hidden = Boolean(this.text) && silent < SILENCE;
  }

  // Whole sentences, and not more often than a voice can follow.
  speak(isEnd) {
    const now = Date.now();
    if (!isEnd && now - this.spokenAt < SPOKEN_EVERY) return;
    const rest = this.text.slice(this.spokenTo);
    const ends = [...rest.matchAll(SENTENCE)];
    const length = isEnd ? rest.length : ends.length ? ends.at(-1).index + ends.at(-1)[0].length : 0;
    if (!length) return;
    this.say(rest.slice(0, length).replace(/[`*_#|~>[\]]+/g, " ").slice(-2_000));
    this.spokenTo += length;
    this.spokenAt = now;
  }

  end() {
    this.leave();
    this.speak(true);
    this.working.hidden = true;
  }

  // Nobody sees it any longer, and so nobody is to hear it.
  leave() {
    this.isEnded = true;
    clearInterval(this.clock);
  }
}
