// The visitor's chat: connects the page, the session, the stream and the outbox.
import { createFrame } from "./frame.js";
import { createOutbox } from "./outbox.js";
import { createSession, createStore } from "./session.js";
import { follow } from "./stream.js";
import { createThread } from "./thread.js";

const root = document.getElementById("chat");
const { routing, language } = root.dataset;
const texts = JSON.parse(root.dataset.texts);
const store = createStore(`neurant:${routing}:`);
const session = createSession(`/chat/${encodeURIComponent(routing)}`, store, (isSolving) => {
  document.getElementById("solving").hidden = !isSolving;
});
const frame = createFrame(root);
const thread = createThread(root, { language, texts, onRetry: (entry) => outbox.retry(entry) });
const outbox = createOutbox(session, store, thread);

const composer = document.getElementById("composer");
const draft = document.getElementById("draft");
const replies = document.getElementById("replies");
const askPerson = document.getElementById("ask-person"); // absent if no person can take conversations
const typing = document.getElementById("typing");
const log = document.getElementById("log");
let mode = "bot";
let lastSender = null;

function say(text) {
  outbox.add(text);
  lastSender = "end_user";
  log.scrollTop = log.scrollHeight;
  offerPerson();
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = draft.value.trim();
  draft.focus();
  if (!text) return;
  draft.value = "";
  store.remove("draft");
  say(text);
});

draft.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
draft.addEventListener("input", () => store.set("draft", draft.value));
draft.value = store.get("draft") ?? "";

askPerson?.addEventListener("click", (event) => {
  say(event.currentTarget.textContent);
  draft.focus();
});

function offerPerson() {
  replies.hidden = !askPerson || mode !== "bot" || lastSender !== "bot";
}

function showState(state) {
  mode = state.mode;
  typing.hidden = !state.thinking;
  document.getElementById("mode").textContent = (texts.modes[mode] ?? texts.modes.bot).replace(
    "{name}",
    state.operator ?? texts.somebody,
  );
  offerPerson();
}

let open = false;
let grace = 0;
function showConnection(isOpen, reason) {
  open = isOpen;
  clearTimeout(grace);
  const offline = document.getElementById("offline");
  const held = document.getElementById("held");
  held.hidden = !reason;
  if (reason) {
    held.querySelector("[data-reason]").textContent = reason;
    offline.hidden = true;
  } else if (isOpen) {
    offline.hidden = true;
    outbox.flush();
  } else {
    // A short interruption is not shown.
    grace = setTimeout(() => (offline.hidden = open || !held.hidden), 1500);
  }
}

addEventListener("offline", () => showConnection(false));
addEventListener("online", () => showConnection(true));

follow(session, {
  onState: showConnection,
  onEvent(name, data) {
    if (name === "state") showState(data);
    if (name !== "message" || !thread.show(data)) return;
    lastSender = data.sender;
    if (data.sender !== "end_user") frame.arrived(data);
    offerPerson();
  },
});

// Only now can a message be sent; earlier, the form would have reloaded the page.
document.getElementById("send").disabled = false;
