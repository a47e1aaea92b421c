// The visitor's session: an opaque token of this chat, stored on the device if possible.

/** A store that survives a reload; if storage is blocked (in some frames), it lives with the page. */
export function createStore(prefix) {
  const memory = new Map();
  return {
    get(name) {
      try {
        return localStorage.getItem(prefix + name) ?? memory.get(name) ?? null;
      } catch {
        return memory.get(name) ?? null;
      }
    },
    set(name, value) {
      memory.set(name, value);
      try {
        localStorage.setItem(prefix + name, value);
      } catch {
        // It stays in memory.
      }
    },
    remove(name) {
      memory.delete(name);
      try {
        localStorage.removeItem(prefix + name);
      } catch {
        // It was only in memory.
      }
    },
  };
}

/** Returns a random id (RFC 9562, version 4), even if the page is not served over TLS. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** An error answer, with the server's reason in the reader's language. */
export class Refused extends Error {
  constructor(status, { detail, code, proof }, retryAfter) {
    super(detail || `HTTP ${status}`);
    this.status = status;
    this.detail = detail;
    this.code = code;
    this.proof = proof; // a challenge to solve
    this.retryAfter = retryAfter * 1000; // milliseconds; NaN if the server gives no time
  }
}

const MAX_CHALLENGES = 3; // one may expire while a phone sleeps

/** Finds the numbers that solve a challenge in a worker, so that the page stays responsive. */
function solve(challenge) {
  const worker = new Worker(new URL("./proof.js", import.meta.url));
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = () => reject(new Error("the challenge was not solved"));
    worker.postMessage(challenge);
  }).finally(() => worker.terminate());
}

/** `onSolving(true)` is called while a challenge is being solved. */
export function createSession(base, store, onSolving = () => {}) {
  let opening = null;
  const renewed = new EventTarget();

  async function open() {
    let proof;
    for (let challenges = 0; ; challenges += 1) {
      const response = await fetch(`${base}/session`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ proof }),
      });
      if (response.ok) {
        const { token } = await response.json();
        store.set("token", token);
        return token;
      }
      const refused = await refusal(response);
      const again = refused.code?.startsWith("visitors.proof_");
      if (!again || challenges === MAX_CHALLENGES) throw refused;
      proof = refused.proof && (await solved(refused.proof));
    }
  }

  async function solved(challenge) {
    onSolving(true);
    try {
      return { challenge: challenge.challenge, numbers: await solve(challenge) };
    } finally {
      onSolving(false);
    }
  }

  /** Returns the token; only one request at a time gets a new one. */
  async function token() {
    const kept = store.get("token");
    if (kept) return kept;
    opening ??= open().finally(() => (opening = null));
    return opening;
  }

  /** Fetches as the visitor; an invalid token is replaced once. */
  async function authorized(path, options = {}, again = true) {
    const used = await token();
    const headers = { ...options.headers, Authorization: `Bearer ${used}` };
    const response = await fetch(base + path, { ...options, headers, cache: "no-store" });
    if (response.status === 401 && again) {
      if (store.get("token") === used) store.remove("token");
      await token();
      renewed.dispatchEvent(new Event("renewed"));
      return authorized(path, options, false);
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  return { authorized, renewed };
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  return new Refused(
    response.status,
    problem,
    Number.parseInt(response.headers.get("Retry-After"), 10),
  );
}
