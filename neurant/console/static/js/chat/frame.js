// The chat inside a widget: tells the page around it what is unread, and when to close.

/** Talks only to the page that holds this frame; without one it does nothing. */
export function createFrame(root) {
  const embedded = "embedded" in root.dataset && parent !== window;
  const tell = (message) => embedded && parent.postMessage(message, "*"); // holds no content
  let visible = !embedded;
  let unread = 0;
  const startedAt = Date.now();

  const report = () => tell({ type: "neurant:unread", count: unread });

  addEventListener("message", (event) => {
    if (event.source !== parent || event.data?.type !== "neurant:visible") return;
    visible = Boolean(event.data.visible);
    if (!visible) return;
    unread = 0;
    report();
    document.getElementById("draft").focus();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") tell({ type: "neurant:close" });
  });
  document
    .getElementById("close")
    ?.addEventListener("click", () => tell({ type: "neurant:close" }));
  tell({ type: "neurant:ready" });

  return {
    arrived(message) {
      // The backlog at connecting was read already.
      if (visible || Date.parse(message.created_at) < startedAt) return;
      unread += 1;
      report();
    },
  };
}
