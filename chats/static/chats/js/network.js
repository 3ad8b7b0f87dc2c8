// Whether the server can be reached: the banner that says when not, and the news when it can be again.

import { say } from "./log.js";
import { backoff } from "./request.js";

const OFFLINE = "You are offline. What you write is kept and can be sent when you are back.";
const UNREACHABLE = "The server can’t be reached. Trying again …";
// A server that is replaced by another is back before that, and nobody needs to know.
const PATIENCE = 5_000;
const PROBE_SECONDS = 5;
const GATEWAY_FAILURES = [502, 503, 504];
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
    show(navigator.onLine ? UNREACHABLE : OFFLINE);
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
