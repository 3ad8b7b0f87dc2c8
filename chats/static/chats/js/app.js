// What a signed-in page does with JavaScript. Each behaviour is a module of its own.

import "./composer.js";
import "./attachments.js";
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
