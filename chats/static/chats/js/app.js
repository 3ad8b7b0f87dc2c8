// What a signed-in page does with JavaScript. Each behaviour is a module of its own.

import "./composer.js";
import "./stream.js";
import "./branches.js";
import "./code.js";
import "./sidebar.js";
import "./keys.js";

document.documentElement.dataset.script = "";
// The server groups chats by this person's days.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
document.cookie = `timezone=${zone};path=/;max-age=31536000;samesite=lax`;

// The list's fragments can wait until one can write: without htmx its links and forms lead to pages.
addEventListener("load", () => {
  const script = document.createElement("script");
  script.src = document.body.dataset.htmx;
  document.head.append(script);
});

// ---- files for this chat: what sends and shows them is loaded when there are some, or some are about to come
const COMING = ["dragenter", "dragover", "drop", "paste", "click"];
let files;

function loadFiles() {
  files ??= import("./attachments.js").then(
    () => COMING.forEach((type) => document.removeEventListener(type, keepForLater)),
    () => (files = undefined),
  );
  return files;
}

function copyOf(transfer) {
  const copy = new DataTransfer();
  for (const file of transfer.files) copy.items.add(file);
  return copy;
}

// What comes before it is there comes once more, as soon as it is.
async function keepForLater(event) {
  const link = event.type === "click" && event.target.closest("[data-attach]");
  const transfer = event.dataTransfer ?? event.clipboardData;
  const isMeant = link ? !(event.ctrlKey || event.metaKey || event.shiftKey) : transfer?.types.includes("Files");
  if (!isMeant || (event.type === "paste" && transfer.types.includes("text/plain"))) return;
  event.preventDefault();
  if (event.type.startsWith("drag")) document.body.toggleAttribute("data-dropping", true);
  const { target, type, constructor } = event;
  const copy = transfer && copyOf(transfer);
  await loadFiles();
  if (link) link.click();
  else if (type === "drop" || type === "paste") {
    target.dispatchEvent(new constructor(type, { dataTransfer: copy, clipboardData: copy, bubbles: true, cancelable: true }));
  }
}

COMING.forEach((type) => document.addEventListener(type, keepForLater));
if (document.querySelector(".attached-file")) loadFiles();
