// The inbox: drafts, dialogs, the state of the live stream, and waiting times that count.
import { startKeys } from "./keys.js";
import { startDialogs } from "./dialogs.js";
import { startToasts } from "./toasts.js";
import { randomId } from "./chat/session.js";

const inbox = document.getElementById("inbox");
const live = document.getElementById("live");
const announcer = document.getElementById("announcer");

// Drafts, kept per conversation, so that a reload, a conflict or a lost connection loses no text.
const draft = () => document.getElementById("draft");
const draftKey = (form) => `neurant:draft:${form.dataset.conversation}`;

function restoreDraft() {
  const form = document.getElementById("composer");
  if (form && draft().value === "") draft().value = localStorage.getItem(draftKey(form)) ?? "";
}

inbox.addEventListener("input", (event) => {
  if (event.target !== draft()) return;
  const form = draft().form;
  if (draft().value) localStorage.setItem(draftKey(form), draft().value);
  else localStorage.removeItem(draftKey(form));
  document.getElementById("draft-saved").hidden = !draft().value;
});

function clearDraft(form) {
  showSendFailed(false);
  localStorage.removeItem(draftKey(form));
  draft().value = "";
  // The next message gets a new id; a repeated request used the old one, to be the same message.
  document.getElementById("message-id").value = randomId();
  document.getElementById("draft-saved").hidden = true;
}

// htmx tells what became of each request: https://htmx.org (4.x), events.
inbox.addEventListener("htmx:after:request", (event) => {
  const { sourceElement, response } = event.detail.ctx;
  if (sourceElement?.id === "composer" && response?.status === 200) clearDraft(sourceElement);
});
document.addEventListener("htmx:error", (event) => {
  if (event.detail.ctx?.sourceElement?.id === "composer") showSendFailed(true);
});
document.addEventListener("htmx:response:error", (event) => {
  const { sourceElement, request, response } = event.detail.ctx;
  const gone = request.method === "GET" && [403, 404].includes(response.status);
  // After signing out or losing the conversation, the whole page shows the answer. A refused
  // action shows the answer's own text as a toast.
  if (response.status === 401 || gone) location.reload();
  else if (sourceElement?.id === "composer" && ![403, 404, 409].includes(response.status))
    showSendFailed(true);
});
document.addEventListener("htmx:after:swap", count);

function showSendFailed(failed) {
  document.getElementById("send-failed")?.toggleAttribute("hidden", !failed);
}

// The live stream.
function showLive(isOn) {
  document.documentElement.toggleAttribute("data-offline", !isOn);
  const text = isOn ? "" : announcer.dataset.reconnecting;
  if (announcer.textContent !== text) announcer.textContent = text;
}
let streamOpen = false;
function streamIs(open) {
  streamOpen = open;
  showLive(open);
}
live.addEventListener("htmx:sse:after:connection", (event) =>
  streamIs(event.detail.connection.status === 200),
);
live.addEventListener(
  "htmx:sse:before:connection",
  (event) => event.detail.connection.attempt > 1 && streamIs(false),
);
live.addEventListener("htmx:sse:error", () => streamIs(false));
addEventListener("offline", () => showLive(false));
addEventListener("online", () => {
  showLive(streamOpen);
  window.htmx.trigger(inbox, "refresh");
});

// Update the waiting times and the count of the queue between two refreshes.
const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

function count() {
  for (const node of document.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(node.dataset.since)) / 1000));
    const [unit, size] = UNITS.find(([, length]) => seconds >= length) ?? UNITS[3];
    node.textContent = `${Math.floor(seconds / size)} ${unit}`;
  }
  const waiting = document.getElementById("list").dataset.waiting;
  for (const badge of document.querySelectorAll("[data-queue]")) {
    badge.hidden = waiting === "0";
    badge.querySelector("[data-queue-number]").textContent = waiting;
  }
}
setInterval(count, 1000);

startKeys();
startDialogs();
startToasts();
restoreDraft();
count();
document.querySelector(".conv[aria-current]")?.scrollIntoView({ block: "nearest" });
