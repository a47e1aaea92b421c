// Who the visitor is: an opaque token of this chat, kept on this device where the browser allows it.

/** A small store that survives a reload; where storage is blocked (some frames), it lasts the page. */
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
        // Kept in memory.
      }
    },
    remove(name) {
      memory.delete(name);
      try {
        localStorage.removeItem(prefix + name);
      } catch {
        // Was only in memory.
      }
    },
  };
}

/** A random id (RFC 9562, version 4), also where the page is not served over TLS. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** An answer that is not a success, with the reason that the server gave in the reader's language. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail || `HTTP ${status}`);
    this.status = status;
    this.detail = detail;
  }
}

export function createSession(base, store) {
  let opening = null;
  const renewed = new EventTarget();

  async function open() {
    const response = await fetch(`${base}/session`, { method: "POST" });
    if (!response.ok) throw await refusal(response);
    const { token } = await response.json();
    store.set("token", token);
    return token;
  }

  /** The token; one request at a time asks for a new one. */
  async function token() {
    const kept = store.get("token");
    if (kept) return kept;
    opening ??= open().finally(() => (opening = null));
    return opening;
  }

  /** fetch as the visitor. A token that no longer holds is replaced, once. */
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
  return new Refused(response.status, problem.detail);
}
