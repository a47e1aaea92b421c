// Keyboard shortcuts of the inbox. Single letters are off while the person types, while a dialog
// is open, and if the person switched them off (WCAG 2.1.4).

const SWITCH = "neurant:single-keys";
const writing = (node) => node.closest("input, textarea, select, [contenteditable]");
const rows = () => [...document.querySelectorAll(".conv")];

function move(step) {
  const all = rows();
  if (all.length === 0) return;
  const focused = all.indexOf(document.activeElement);
  const from = focused >= 0 ? focused : all.findIndex((row) => row.hasAttribute("aria-current"));
  const next = from < 0 ? 0 : Math.min(all.length - 1, Math.max(0, from + step));
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

const actions = {
  j: () => move(1),
  k: () => move(-1),
  t: () => document.querySelector("[data-key=t]")?.click(),
  e: () => document.querySelector("[data-key=e]")?.click(),
  r: () => document.getElementById("draft")?.focus(),
  "/": () => document.getElementById("search").focus(),
  "?": () => document.getElementById("shortcuts").showModal(),
};

function back(event) {
  if (document.querySelector("dialog[open]")) return; // the browser closes it
  if (writing(event.target)) event.target.blur();
  else
    [...document.querySelectorAll("[data-back]")]
      .findLast((link) => link.checkVisibility())
      ?.click();
}

export function startKeys() {
  const single = document.getElementById("single-keys");
  single.checked = localStorage.getItem(SWITCH) !== "off";
  single.addEventListener("change", () =>
    localStorage.setItem(SWITCH, single.checked ? "on" : "off"),
  );

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return back(event);
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "draft") {
      event.preventDefault();
      return event.target.form.requestSubmit();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
    if (!single.checked || document.querySelector("dialog[open]")) return;
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
