// The browser's twin of chats/pages/markdown.py: the same options, the same allow-list, the same output.

import createDOMPurify from "../vendor/dompurify-3.4.18/purify.min.js";
import MarkdownIt from "../vendor/markdown-it-15.0.3/markdown-it.min.js";

const MAX_NESTING = 50;
const BLOCK_MILLISECONDS = 40;
const BLOCK_MAX_CHARACTERS = 60_000;
const BEGINNINGS = ["http://", "https://", "mailto:"];
const LANGUAGE = /^[A-Za-z0-9+#._-]{1,30}$/;
const POLICY = {
  ALLOWED_TAGS: "a blockquote br code del div em h3 h4 h5 h6 hr li ol p pre s strong table tbody td th thead tr ul".split(" "),
  ALLOWED_ATTR: ["href", "title", "start", "data-language", "class", "tabindex", "role", "aria-label"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  // The pattern above is held against every other attribute too.
  ADD_URI_SAFE_ATTR: ["start", "data-language", "tabindex", "role", "aria-label"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  KEEP_CONTENT: true,
  RETURN_DOM_FRAGMENT: true,
};
const CLASSES = {
  A: ["image-link"],
  DIV: ["code", "table-scroll"],
  TD: ["align-left", "align-center", "align-right"],
  TH: ["align-left", "align-center", "align-right"],
};

class TooDear extends Error {}

function watch(state) {
  if (performance.now() > state.env.endsAt) throw new TooDear();
  if (state.level > MAX_NESTING) throw new TooDear();
  return false;
}

function hostOf(address) {
  try {
    return new URL(address).hostname || "elsewhere";
  } catch {
    return "elsewhere";
  }
}

const RULES = {
  heading_open: heading,
  heading_close: heading,
  fence: code,
  code_block: code,
  image: imageLink,
  table_open: () => '<div class="table-scroll" tabindex="0" role="group" aria-label="Table"><table>\n',
  table_close: () => "</table></div>\n",
  th_open: cell,
  td_open: cell,
};

function heading(tokens, index, options, env, renderer) {
  tokens[index].tag = `h${Math.min(Number(tokens[index].tag[1]) + 2, 6)}`;
  return renderer.renderToken(tokens, index, options);
}

function code(tokens, index) {
  const language = tokens[index].info.trim().split(" ")[0];
  const named = LANGUAGE.test(language) ? ` data-language="${language}"` : "";
  const text = parser.utils.escapeHtml(tokens[index].content);
  return `<div class="code"><pre tabindex="0"${named}><code>${text}</code></pre></div>\n`;
}

// Loading the picture would tell that host who reads what.
function imageLink(tokens, index, options, env, renderer) {
  const { escapeHtml } = parser.utils;
  const address = tokens[index].attrGet("src") ?? "";
  const words = renderer.renderInlineAsText(tokens[index].children, options, env).trim();
  const label = words ? `${words}: image from ${hostOf(address)}` : `Image from ${hostOf(address)}`;
  return `<a class="image-link" href="${escapeHtml(address)}">${escapeHtml(label)}</a>`;
}

function cell(tokens, index, options, env, renderer) {
  const style = tokens[index].attrGet("style");
  if (style) tokens[index].attrs = [["class", `align-${style.replace("text-align:", "")}`]];
  return renderer.renderToken(tokens, index, options);
}

function newParser() {
  const made = new MarkdownIt({ html: false, linkify: true, breaks: true, maxNesting: 2 * MAX_NESTING });
  made.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
  made.validateLink = (url) => BEGINNINGS.some((beginning) => url.trim().toLowerCase().startsWith(beginning));
  made.block.ruler.before("table", "watch", watch, { alt: ["paragraph", "reference", "blockquote", "list"] });
  made.inline.ruler.before("text", "watch", watch);
  Object.assign(made.renderer.rules, RULES);
  return made;
}

const parser = newParser();
const purifier = createDOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.hasAttribute("class") && !CLASSES[node.tagName]?.includes(node.className)) node.removeAttribute("class");
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow ugc");
  }
});

function write(tokens, env) {
  const fragment = purifier.sanitize(parser.renderer.render(tokens, parser.options, env), POLICY);
  if (env.sources?.size) cite(fragment, env.sources);
  return fragment;
}

// ---- markers of sources, as chats/pages/citations.py links them
const MARKER = /\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]/g;

function cite(fragment, sources) {
  const texts = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    if (texts.currentNode.data.includes("[") && !texts.currentNode.parentElement?.closest("code, pre, a")) found.push(texts.currentNode);
  }
  for (const text of found) text.replaceWith(...linked(text.data, sources));
}

function linked(text, sources) {
  const parts = [];
  let end = 0;
  for (const marker of text.matchAll(MARKER)) {
    const numbers = marker[1].match(/\d+/g);
    if (!numbers.every((number) => sources.has(number))) continue;
    parts.push(text.slice(end, marker.index), ...numbers.map((number) => citation(number, sources.get(number))));
    end = marker.index + marker[0].length;
  }
  return [...parts, text.slice(end)];
}

function citation(number, { url, label }) {
  const link = document.createElement(url ? "a" : "span");
  link.className = "citation";
  link.title = label;
  link.textContent = number;
  if (url) {
    link.href = url;
    link.setAttribute("aria-label", `Source ${number}: ${label}`);
  }
  return link;
}

export function render(text) {
  const env = { endsAt: performance.now() + 250 };
  return write(parser.parse(text, env), env);
}

// Where line `count` begins.
function offsetOf(text, count) {
  const ends = /\r\n|\r|\n/g;
  for (let line = 0; line < count; line += 1) {
    if (!ends.exec(text)) return text.length;
  }
  return ends.lastIndex;
}

// A text that only grows, shown in `element`: finished blocks stay, the open one is written again.
export class Draft {
  constructor(element) {
    this.element = element;
    this.open = document.createElement("div");
    this.open.className = "open-block";
    this.sources = new Map(); // by number: where it leads, and its name
    this.restart();
  }

  restart() {
    this.closedTo = 0;
    this.references = {};
    this.isRaw = false;
    this.tooDear = 0;
    this.element.replaceChildren(this.open);
    this.open.replaceChildren();
  }

  show(text) {
    const rest = text.slice(this.closedTo);
    if (this.isRaw || rest.length > BLOCK_MAX_CHARACTERS) {
      this.isRaw = true;
      this.showRaw(rest);
      return;
    }
    try {
      this.showFormatted(rest);
      this.tooDear = 0;
    } catch (error) {
      if (!(error instanceof TooDear)) throw error;
      // Once may be the machine, which was busy with something else; twice on end is the text.
      this.tooDear += 1;
      this.isRaw = this.tooDear > 1;
      this.showRaw(rest);
    }
  }

  showFormatted(rest) {
    const env = { endsAt: performance.now() + BLOCK_MILLISECONDS, references: this.references, sources: this.sources };
    const tokens = parser.parse(rest, env);
    const last = tokens.findLastIndex((token) => token.level === 0 && token.nesting >= 0 && token.map);
    if (last > 0) {
      this.open.before(write(tokens.slice(0, last), env));
      this.closedTo += offsetOf(rest, tokens[last].map[0]);
    }
    this.open.replaceChildren(write(tokens.slice(Math.max(last, 0)), env));
  }

  // The finished message comes from the server, formatted if it can be.
  showRaw(rest) {
    let raw = this.open.firstElementChild;
    if (!raw?.classList.contains("raw")) {
      raw = document.createElement("div");
      raw.className = "raw";
      this.open.replaceChildren(raw);
    }
    const shown = raw.textContent.length;
    raw.append(rest.slice(shown));
  }
}
