// Files on their way to the server: a line for each, what became of it, and a second try where one makes sense.

export const UNREACHABLE = "The server can’t be reached. Try again in a moment.";
const FAILED = "Something broke on our side. Try this again.";
const OUTDATED = "This page has grown old. Reload it and try again.";
const FOLDER = "This is a folder. Drop the files that are in it.";
const EMPTY = "This file is empty.";

export function sentenceOf(request) {
  if (!request.status) return UNREACHABLE;
  if (request.getResponseHeader("Content-Type")?.startsWith("text/plain")) return request.responseText;
  return { 403: OUTDATED, 404: "This was deleted.", 413: "This file is larger than allowed." }[request.status] ?? FAILED;
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

function refusalOf(file, limit) {
  if (file.size > limit) return `Not sent: it has ${sizeOf(file.size)}, and at most ${sizeOf(limit)} are allowed. Split it, or leave something out.`;
  return file.size ? "" : EMPTY;
}

export class Uploads {
  // `stored(file, request)` is told of each file that the server has, and returns what its line is to say; "": it goes.
  constructor({ atOnce, say, stored, dismissed, idle = () => {} }) {
    Object.assign(this, { atOnce, say, stored, idle });
    this.lines = document.querySelector("[data-lines]");
    this.waiting = [];
    this.running = 0;
    this.lines.addEventListener("click", ({ target }) => {
      const line = target.closest("[data-dismiss]")?.closest("li");
      if (!line) return;
      this.removeLine(line);
      dismissed();
    });
    addEventListener("beforeunload", (event) => this.isRunning && event.preventDefault());
  }

  get isRunning() {
    return this.running > 0;
  }

  // What is said of files that were refused.
  get refusals() {
    return [...this.lines.querySelectorAll(".refused p")].map((line) => line.textContent.trim());
  }

  // `target` says where a file goes: `maxBytes`, and, once it is its turn, `address()` and the other fields as `body()`.
  add(target, file, { isFolder = false } = {}) {
    const line = this.newLine(file.name);
    const sentence = isFolder ? FOLDER : refusalOf(file, target.maxBytes);
    if (sentence) {
      this.endLine(line, sentence);
      return;
    }
    this.waiting.push({ target, file, line });
    this.sendNext();
  }

  newLine(name) {
    const line = document.getElementById("upload-line").content.firstElementChild.cloneNode(true);
    line.querySelector("[data-name]").textContent = name;
    line.querySelector("progress").setAttribute("aria-label", `Sent of ${name}`);
    line.querySelector("[data-dismiss]").setAttribute("aria-label", `Dismiss what is said about ${name}`);
    this.lines.append(line);
    this.lines.hidden = false;
    return line;
  }

  removeLine(line) {
    line.remove();
    this.lines.hidden = !this.lines.childElementCount;
  }

  // `again` is what a second try does, where one makes sense.
  endLine(line, sentence, { isRefused = true, again } = {}) {
    const name = line.querySelector("[data-name]").textContent;
    line.classList.toggle("refused", isRefused);
    line.querySelector("[data-sentence]").textContent = sentence;
    line.querySelector("progress").hidden = true;
    line.querySelector("[data-dismiss]").hidden = false;
    const button = line.querySelector("[data-again]");
    button.hidden = !again;
    button.onclick = again ?? null;
    this.say(`${name}: ${sentence}`);
  }

  sendNext() {
    while (this.running < this.atOnce && this.waiting.length) {
      this.running += 1;
      this.send(this.waiting.shift());
    }
    if (!this.running) this.idle();
  }

  send(item) {
    const { target, file, line } = item;
    const request = new XMLHttpRequest();
    const body = target.body();
    const bar = line.querySelector("progress");
    body.set("file", file);
    request.open("POST", target.address());
    request.setRequestHeader("HX-Request", "true");
    request.upload.addEventListener("progress", ({ loaded, total }) => (bar.value = loaded / total));
    // All is sent, and the server looks at it.
    request.upload.addEventListener("load", () => bar.removeAttribute("value"));
    request.addEventListener("loadend", () => {
      this.running -= 1;
      this.finish(item, request);
      this.sendNext();
    });
    request.send(body);
  }

  sendAgain(item) {
    const { line } = item;
    line.classList.remove("refused");
    line.querySelector("[data-sentence]").textContent = "";
    for (const control of line.querySelectorAll("[data-again], [data-dismiss]")) control.hidden = true;
    line.querySelector("progress").hidden = false;
    line.querySelector("progress").value = 0;
    this.waiting.push(item);
    this.sendNext();
  }

  finish(item, request) {
    const { file, line } = item;
    if (request.status >= 400 || !request.status) {
      const isWorthIt = !request.status || request.status >= 500 || request.status === 429;
      this.endLine(line, sentenceOf(request), { again: isWorthIt && (() => this.sendAgain(item)) });
      return;
    }
    const sentence = this.stored(file, request);
    if (sentence) this.endLine(line, sentence, { isRefused: false });
    else {
      this.removeLine(line);
      this.say(`${file.name} is uploaded.`);
    }
  }
}

// ---- dropping, anywhere on the page
export function receiveDrops(take) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (isDropping) => document.body.toggleAttribute("data-dropping", isDropping);
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(true);
  });
  // To nowhere: out of the window.
  document.addEventListener("dragleave", (event) => hasFiles(event) && !event.relatedTarget && show(false));
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(false);
    for (const item of event.dataTransfer.items) {
      const file = item.getAsFile();
      if (file) take(file, { isFolder: item.webkitGetAsEntry?.()?.isDirectory ?? false });
    }
  });
}
