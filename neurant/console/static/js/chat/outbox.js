// Messages that the server has not confirmed yet: sent in order, and kept over a reload.
import { Refused, randomId } from "./session.js";

const FIRST_DELAY = 1000;
const MAX_DELAY = 15000;
const MAX_HELD = 600000; // milliseconds; a company may raise its limit earlier
const MAX_SERVER_ERRORS = 4; // after which the visitor is notified

/** client_id makes every attempt the same message to the server, so retrying is always safe. */
export function createOutbox(session, store, thread) {
  let waiting = JSON.parse(store.get("waiting") ?? "[]");
  let sending = false;
  let again = 0;
  let delay = FIRST_DELAY;
  for (const entry of waiting) {
    entry.refused = false; // a reload tries again
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
      // No connection, a server error, or too many requests: everything waits in order and is
      // tried again.
      console.info("outbox:", error.message);
      again = setTimeout(flush, error.status === 429 ? held(error) : delay);
      delay = Math.min(delay * 2, MAX_DELAY);
    } finally {
      sending = false;
    }
  }

  /** Marks each message as waiting, with the reason; returns the pause with some jitter. */
  function held(error) {
    for (const entry of waiting) {
      if (!entry.refused) thread.markPending(entry, "held", error.detail);
    }
    return Math.min(error.retryAfter || MAX_DELAY, MAX_HELD) * (1 + Math.random() / 10);
  }

  /** Returns true if the server accepted it, false if it refused; throws on a temporary error. */
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
      if (error.status >= 500 && entry.server_errors < MAX_SERVER_ERRORS) throw error;
      entry.refused = true; // only the visitor can retry it
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
