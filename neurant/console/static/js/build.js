// Forms with a draft: keep the typed values until they are sent, count them, and preview them.
import { startDialogs } from "./dialogs.js";
import { startToasts } from "./toasts.js";

const PREFIX = "neurant:draft:";

// The value in the page as loaded; a select has no defaultValue.
function initial(field) {
  if (field.tagName !== "SELECT") return field.defaultValue;
  return ([...field.options].find((one) => one.defaultSelected) ?? field.options[0])?.value;
}

function keepDraft(form) {
  const key = PREFIX + form.dataset.draft;
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? "{}");
    for (const field of form.querySelectorAll(
      "input:not([type=hidden], [type=radio]), textarea, select",
    ))
      if (field.name in kept && field.value === initial(field)) field.value = kept[field.name];
    form.addEventListener("input", () => {
      const data = Object.fromEntries(new FormData(form));
      delete data.password;
      localStorage.setItem(key, JSON.stringify(data));
      for (const line of document.querySelectorAll("[data-draft-kept]")) line.hidden = false;
    });
    form.addEventListener("submit", () => localStorage.removeItem(key));
  } catch {
    // The browser blocks storage; the form works without a kept draft.
  }
}

function tellUnsaved(form) {
  form.addEventListener("input", () => {
    for (const mark of document.querySelectorAll("[data-unsaved]")) mark.hidden = false;
  });
}

function startTrial(form) {
  const scroll = form.previousElementSibling;
  form.addEventListener("htmx:after:request", (event) => {
    if (event.detail.ctx.response.status >= 400) return; // a toast shows the error, and the text stays
    form.reset();
    scroll.scrollTop = scroll.scrollHeight;
    form.elements.message.focus();
  });
  form.elements.message.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

for (const form of document.querySelectorAll("form[data-draft]")) keepDraft(form);
for (const area of document.querySelectorAll("[data-counts]"))
  area.addEventListener("input", () => {
    document.getElementById(area.dataset.counts).textContent = area.value.length;
  });
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.querySelector("span").textContent = button.dataset.done;
  });
}
for (const shown of document.querySelectorAll("[data-shows]")) {
  const field = document.getElementById(shown.dataset.shows);
  field?.addEventListener("input", () => (shown.textContent = field.value));
}
const settings = document.getElementById("settings");
if (settings) tellUnsaved(settings);
const trial = document.getElementById("trial-form");
if (trial) startTrial(trial);
startDialogs();
startToasts();
