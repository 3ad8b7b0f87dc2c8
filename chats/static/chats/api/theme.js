// The colours of the viewers: what was chosen on the pages, or else what the system has.

const { theme } = document.documentElement.dataset;
const system = matchMedia("(prefers-color-scheme: dark)");

export const isDark = () => (theme ? theme === "dark" : system.matches);

export function whenItChanges(show) {
  system.addEventListener("change", show);
}
