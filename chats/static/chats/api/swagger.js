// Shows the schema with «try it out»: a browser that is signed in sends its CSRF token, a key goes into «Authorize».

import { isDark, whenItChanges } from "./theme.js";

const root = document.getElementById("swagger-ui");
const csrfToken = () => document.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/)?.[1];
const colour = () => document.documentElement.classList.toggle("dark-mode", isDark());

colour();
whenItChanges(colour);
SwaggerUIBundle({
  url: root.dataset.schema,
  domNode: root,
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const token = csrfToken();
    if (token && request.method !== "GET") request.headers["X-CSRFToken"] = token;
    return request;
  },
});
