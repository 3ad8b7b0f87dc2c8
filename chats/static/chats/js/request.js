// Asks the server for a fragment, and says in a sentence what went wrong. A banner says when the server can't be reached at
// all; that is in this module because each of them is a request more, and a page may make twenty.

import { say } from "./log.js";

export class Problem extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

const UNREACHABLE = "The server can’t be reached. Your text is safe here.";
const FAILED = "Something broke on our side. Your text is safe here.";
const OUTDATED = "This page has grown old. Reload it and try again; your text is kept.";
// A proxy says these for a server that is not there. The server itself says them in a sentence.
const GATEWAY_FAILURES = [502, 503, 504];

async function sentenceOf(response) {
  if (response.headers.get("Content-Type")?.startsWith("text/plain")) return response.text();
  return response.status === 403 ? OUTDATED : FAILED;
}

export async function ask(url, { method = "GET", body, seconds = 20 } = {}) {
  let response;
  try {
    response = await fetch(url, {
      method,
      body,
      headers: { "HX-Request": "true", "HX-Current-URL": location.href },
      signal: AbortSignal.timeout(seconds * 1000),
    });
  } catch {
    throw new Problem(UNREACHABLE, 0);
  }
  const isThere = !GATEWAY_FAILURES.includes(response.status) || response.headers.get("Content-Type")?.startsWith("text/plain");
  if (!isThere) throw new Problem(UNREACHABLE, 0);
  if (!response.ok) throw new Problem(await sentenceOf(response), response.status);
  return response;
}

export async function untilAnswered(url) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await (await ask(url)).text();
    } catch (error) {
      // Anything but a network or server failure will not get better.
      if (error.status && error.status < 500) throw error;
      await new Promise((resolve) => setTimeout(resolve, backoff(attempt)));
    }
  }
}

// randomUUID is missing on plain http.
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Half a second, doubled each time up to 30 s; spread, so that many clients don't come back at once.
export function backoff(attempt) {
  return Math.min(30_000, 500 * 2 ** attempt) * (0.5 + Math.random() / 2);
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `${document.body.dataset.icons}#${name}`);
  svg.append(use);
  return svg;
}

// ---- whether the server can be reached
const OFFLINE = "You are offline. What you write is kept and can be sent when you are back.";
const SEARCHING = "The server can’t be reached. Trying again …";
// A server that is replaced by another is back before that, and nobody needs to know.
const PATIENCE = 5_000;
const PROBE_SECONDS = 5;
const banner = document.querySelector("[data-network]");
const sentence = banner.querySelector("[data-network-sentence]");

let isLooking = false;
let wake = () => {};
let patience = null;

function show(text) {
  if (text === sentence.textContent) return;
  sentence.textContent = text;
  banner.hidden = !text;
  say(text || "You are connected again.");
}

async function answers() {
  try {
    const response = await fetch("/api/v1/health/", { cache: "no-store", signal: AbortSignal.timeout(PROBE_SECONDS * 1000) });
    return !GATEWAY_FAILURES.includes(response.status);
  } catch {
    return false;
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => {
    wake = resolve;
    setTimeout(resolve, milliseconds);
  });
}

// Ask until it answers; then «parley:reachable» says so. The banner is there as long as it does not.
export async function lookForServer() {
  if (isLooking) return;
  isLooking = true;
  for (let attempt = 0; !(await answers()); attempt += 1) {
    show(navigator.onLine ? SEARCHING : OFFLINE);
    await pause(backoff(attempt));
  }
  isLooking = false;
  show("");
  document.dispatchEvent(new CustomEvent("parley:reachable"));
}

function lookNow() {
  wake();
  lookForServer();
}

// A socket alone proves nothing: some networks let none through. But where one was lost it is time to ask.
document.addEventListener("parley:disconnected", () => {
  patience ??= setTimeout(() => {
    patience = null;
    lookForServer();
  }, PATIENCE);
});
document.addEventListener("parley:reconnected", () => {
  clearTimeout(patience);
  patience = null;
  if (isLooking) wake();
});
addEventListener("offline", () => show(OFFLINE));
addEventListener("online", lookNow);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake());
if (!navigator.onLine) show(OFFLINE);
