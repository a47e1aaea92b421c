// What the visitor wrote and the server has not confirmed: sent in order, kept over a reload.
import { Refused, randomId } from "./session.js";

const FIRST_DELAY = 1000;
const LONGEST_DELAY = 15000;
const LONGEST_HELD = 600000; // a company may raise its number before the time that was told
const MOST_SERVER_ERRORS = 4; // then the visitor is told, instead of waiting for ever

/** client_id makes every attempt the same message to the server, so retrying is always safe. */
export function createOutbox(session, store, thread) {
  let waiting = JSON.parse(store.get("waiting") ?? "[]");
  let sending = false;
  let again = 0;
  let delay = FIRST_DELAY;
  for (const entry of waiting) {
    entry.refused = false; // a reload is a new try
    thread.showPending(entry);
  }

  const keep = () => store.set("waiting", JSON.stringify(waiting));

  async function flush() {
    if (sending) return;
    sending = true;
    clearTimeout(again);
    try {
      while (waiting.some((entry) => !entry.refused)) {
        const entry = waiting.find((candidate) => !candidate.refused);
        thread.markPending(entry, "sending");
        if (await send(entry)) waiting = waiting.filter((other) => other !== entry);
        keep();
        delay = FIRST_DELAY;
      }
    } catch (error) {
      // No connection, a server in trouble, or too much at once: everything waits, in order, and
      // tries again.
      console.info("outbox:", error.message);
      again = setTimeout(flush, error.status === 429 ? held(error) : delay);
      delay = Math.min(delay * 2, LONGEST_DELAY);
    } finally {
      sending = false;
    }
  }

  /** Says on each message that it waits, and why. The pause until the next try, with some jitter. */
  function held(error) {
    for (const entry of waiting) {
      if (!entry.refused) thread.markPending(entry, "held", error.detail);
    }
    return Math.min(error.retryAfter || LONGEST_DELAY, LONGEST_HELD) * (1 + Math.random() / 10);
  }

  /** True when the server has it, false when it said no. Throws for what may pass by itself. */
  async function send(entry) {
    const body = JSON.stringify({ client_id: entry.client_id, text: entry.text });
    try {
      const response = await session.authorized("/messages", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body,
      });
      const { conversation_id, seq } = await response.json();
      thread.show({
        ...entry,
        conversation_id,
        seq,
        sender: "end_user",
        created_at: entry.written_at,
      });
      return true;
    } catch (error) {
      if (!(error instanceof Refused) || error.status === 429) throw error;
      entry.server_errors = (entry.server_errors ?? 0) + (error.status >= 500 ? 1 : 0);
      if (error.status >= 500 && entry.server_errors < MOST_SERVER_ERRORS) throw error;
      entry.refused = true; // only the visitor can decide now
      thread.markPending(entry, "failed", error.detail);
      return false;
    }
  }

  return {
    flush,
    /** Send a text; it stays on this device until the server has it. */
    add(text) {
      const entry = { client_id: randomId(), text, written_at: new Date().toISOString() };
      waiting.push(entry);
      keep();
      thread.showPending(entry);
      flush();
    },
    retry(entry) {
      entry.refused = false;
      entry.server_errors = 0;
      flush();
    },
  };
}
