// Asks the server for a fragment, and says in a sentence what went wrong.

export class Problem extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

const UNREACHABLE = "The server can’t be reached. Your text is safe here.";
const FAILED = "Something broke on our side. Your text is safe here.";
const OUTDATED = "This page has grown old. Reload it and try again; your text is kept.";

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
  // A proxy says these for a server that is not there. The server itself says them in a sentence.
  const isThere = ![502, 503, 504].includes(response.status) || response.headers.get("Content-Type")?.startsWith("text/plain");
  if (!isThere) throw new Problem(UNREACHABLE, 0);
  if (!response.ok) throw new Problem(await sentenceOf(response), response.status);
  return response;
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
