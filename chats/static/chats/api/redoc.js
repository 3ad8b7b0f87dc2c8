// Shows the schema to read, in the colours of the pages.

import { isDark } from "./theme.js";

const LIGHT = { colors: { success: { main: "#146b1d" } } };
const DARK = {
  colors: {
    primary: { main: "#6fcdb4" },
    success: { main: "#a3d19a" },
    warning: { main: "#f0c274" },
    error: { main: "#ff9d92" },
    gray: { 50: "#222220", 100: "#2a2a27" },
    text: { primary: "#ecebe4", secondary: "#b6b4a9" },
    border: { dark: "#32322e", light: "#32322e" },
    responses: {
      success: { color: "#a3d19a", backgroundColor: "#22301f", tabTextColor: "#a3d19a" },
      error: { color: "#ff9d92", backgroundColor: "#3b1f1c", tabTextColor: "#ff9d92" },
    },
  },
  schema: {
    linesColor: "#77756c",
    typeNameColor: "#b6b4a9",
    typeTitleColor: "#b6b4a9",
    requireLabelColor: "#ff9d92",
    nestedBackground: "#222220",
    arrow: { color: "#b6b4a9" },
  },
  typography: { code: { color: "#ff9d92", backgroundColor: "#2a2a27" }, links: { color: "#6fcdb4", visited: "#6fcdb4", hover: "#8bdcc6" } },
  sidebar: { backgroundColor: "#131312", textColor: "#ecebe4", activeTextColor: "#6fcdb4", arrow: { color: "#b6b4a9" } },
  rightPanel: { backgroundColor: "#131312" },
  codeBlock: { backgroundColor: "#0c0c0b" },
};

// ReDoc's footer wants a picture from its maker's host. Nothing here is loaded from elsewhere: such a picture fails at once,
// before the browser has tried and complained.
const { get, set } = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
const isElsewhere = (address) => new URL(address, location).host !== location.host;

function setSource(address) {
  if (isElsewhere(address)) queueMicrotask(() => this.dispatchEvent(new Event("error")));
  else set.call(this, address);
}

Object.defineProperty(HTMLImageElement.prototype, "src", { get, set: setSource });
HTMLImageElement.prototype.setAttribute = function setAttribute(name, value) {
  if (name === "src") setSource.call(this, value);
  else Element.prototype.setAttribute.call(this, name, value);
};

const root = document.getElementById("redoc");
Redoc.init(root.dataset.schema, { theme: isDark() ? DARK : LIGHT }, root);
