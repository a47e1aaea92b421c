// The messages on the page. All markup comes from the page's templates; texts are set as text.

const make = (name) =>
  document.getElementById(`t-${name}`).content.firstElementChild.cloneNode(true);
const fill = (node, hook, text) => {
  const place = node.querySelector(`[data-${hook}]`);
  if (place) place.textContent = text ?? "";
};

export function createThread(root, { language, texts, onRetry }) {
  const thread = root.querySelector("#thread");
  const tail = root.querySelector("#replies"); // messages come before the quick replies
  const mine = new Map(); // client_id -> node of the visitor's own message

  function node(message) {
    const item = make(message.sender);
    write(item.querySelector("[data-text]"), message.text);
    if (message.sender === "human") {
      fill(item, "name", message.name);
      fill(item, "initials", (message.name ?? "?").slice(0, 2).toUpperCase());
    }
    if (message.sender === "bot") cite(item, message.sources ?? []);
    stamp(item, new Date(message.created_at));
    return item;
  }

  /** Plain text: an empty line starts a paragraph; the style sheet keeps single line breaks. */
  function write(place, text) {
    if (!place.matches(".bubble")) {
      place.textContent = text;
      return;
    }
    for (const block of text.split(/\n{2,}/)) {
      place.appendChild(document.createElement("p")).textContent = block;
    }
  }

  function cite(item, sources) {
    const details = item.querySelector("[data-sources]");
    details.hidden = sources.length === 0;
    if (details.hidden) return;
    const names = [...new Set(sources.map((source) => source.document))];
    const page = sources[0].page ? `, ${texts.page.replace("{page}", sources[0].page)}` : "";
    const rest = names.length > 1 ? texts.and_more.replace("{count}", names.length - 1) : page;
    fill(details, "cited", `${texts.according_to.replace("{document}", names[0])}${rest}`);
    for (const source of sources) {
      const entry = make("source");
      fill(entry, "document", source.document);
      fill(entry, "page", source.page ? texts.page.replace("{page}", source.page) : "");
      fill(entry, "quote", source.quote);
      details.querySelector("ol").append(entry);
    }
  }

  function stamp(item, moment) {
    item.dataset.at = moment.toISOString();
    const time = item.querySelector("time");
    if (!time) return;
    time.dateTime = moment.toISOString();
    time.textContent = moment.toLocaleTimeString(language, { hour: "numeric", minute: "2-digit" });
  }

  /** Shows a stored message at its place by sequence, and never twice. */
  function show(message) {
    const key = `${message.conversation_id}.${message.seq}`;
    if (thread.querySelector(`[data-key="${CSS.escape(key)}"]`)) return false;
    const waiting = message.client_id && mine.get(message.client_id);
    waiting?.remove();
    mine.delete(message.client_id);
    const item = node(message);
    Object.assign(item.dataset, { key, conversation: message.conversation_id, seq: message.seq });
    if (message.sender === "end_user") mark(item, "sent");
    const later = [...thread.querySelectorAll("[data-key]")].find(
      (other) =>
        other.dataset.conversation === message.conversation_id && +other.dataset.seq > message.seq,
    );
    thread.insertBefore(item, later ?? thread.querySelector("[data-pending]") ?? tail);
    separateDays();
    return true;
  }

  /** Shows a message that the visitor has just written, before the server confirms it. */
  function showPending(entry) {
    const item = node({ sender: "end_user", text: entry.text, created_at: entry.written_at });
    item.dataset.pending = entry.client_id;
    item.querySelector("[data-retry]").addEventListener("click", () => onRetry(entry));
    mine.set(entry.client_id, item);
    thread.insertBefore(item, tail);
    mark(item, "sending");
    separateDays();
  }

  function mark(item, state, reason) {
    for (const receipt of item.querySelectorAll("[data-state]")) {
      receipt.hidden = receipt.dataset.state !== state;
    }
    item.querySelector("[data-retry]").hidden = state !== "failed";
    item.classList.toggle("msg--fail", state === "failed");
    item.classList.toggle("msg--held", state === "held"); // it may wait for a long time, so it stays legible
    if (reason) fill(item, state === "held" ? "held" : "reason", reason);
  }

  function separateDays() {
    for (const label of thread.querySelectorAll(".thread__day")) label.remove();
    let day = "";
    for (const item of thread.querySelectorAll("[data-at]")) {
      const moment = new Date(item.dataset.at);
      if (moment.toDateString() === day) continue;
      day = moment.toDateString();
      const label = make("day");
      label.textContent = dayName(moment);
      item.before(label);
    }
  }

  function dayName(moment) {
    const days = Math.round(
      (new Date().setHours(0, 0, 0, 0) - new Date(moment).setHours(0, 0, 0, 0)) / 864e5,
    );
    if (days < 2) {
      const name = new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(-days, "day");
      return name[0].toUpperCase() + name.slice(1);
    }
    return moment.toLocaleDateString(language, { day: "numeric", month: "long" });
  }

  return {
    show,
    showPending,
    markPending: (entry, state, reason) => {
      const item = mine.get(entry.client_id);
      if (item) mark(item, state, reason);
    },
  };
}
