// Server-sent events over fetch (EventSource cannot send the visitor's token), with resumption.

const FIRST_DELAY = 500;
const MAX_DELAY = 15000;
const SILENCE = 60000; // milliseconds; the server sends a comment well before

/** Follows the stream and reconnects. `onState` gets true when it opens and false when it breaks,
 * with the reason if the server limits it. */
export function follow(session, { onEvent, onState }) {
  let lastId = "";
  let delay = FIRST_DELAY;
  let wake = () => {};
  let current = null; // the AbortController of the open stream

  async function once() {
    const abort = new AbortController();
    let watchdog = setTimeout(() => abort.abort(), SILENCE);
    try {
      const response = await session.authorized("/stream", {
        headers: { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) },
        signal: abort.signal,
      });
      onState(true);
      current = abort;
      for await (const event of events(response.body)) {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => abort.abort(), SILENCE);
        delay = FIRST_DELAY;
        if (event.id) lastId = event.id;
        if (event.data) onEvent(event.name, JSON.parse(event.data));
      }
    } finally {
      clearTimeout(watchdog);
      current = null;
      abort.abort();
    }
  }

  // The visitor has a new session; an open stream would belong to the old one.
  session.renewed.addEventListener("renewed", () => {
    lastId = "";
    current?.abort();
  });

  async function forever() {
    for (;;) {
      let wait = delay * (0.75 + Math.random() / 2);
      let refused = null;
      try {
        await once();
      } catch (error) {
        console.info("stream:", error.message);
        if (error.status === 429) {
          refused = error;
          wait = Math.max(wait, (error.retryAfter || MAX_DELAY) * (1 + Math.random() / 10));
        }
      }
      onState(false, refused?.detail);
      // Jitter, so that not all clients reconnect to a restarted server at once.
      await pause(wait, refused !== null);
      delay = Math.min(delay * 2, MAX_DELAY);
    }
  }

  /** A pause that ends early when the visitor comes back, but not before the server's time. */
  function pause(milliseconds, isTold) {
    return new Promise((resolve) => {
      wake = isTold ? () => {} : resolve;
      setTimeout(resolve, milliseconds);
    });
  }

  addEventListener("online", () => wake());
  document.addEventListener("visibilitychange", () => document.hidden || wake());
  forever();
}

/** Yields the events of a stream (HTML standard, 9.2.6); comments are empty events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { name: "message", id: "", data: "" };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        yield event;
        event = { name: "message", id: "", data: "" };
      } else if (line.startsWith(":")) {
        yield { name: "comment", id: "", data: "" };
      } else {
        read(line, event);
      }
    }
  }
}

function read(line, event) {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (field === "event") event.name = value;
  else if (field === "id") event.id = value;
  else if (field === "data") event.data += (event.data && "\n") + value;
}
