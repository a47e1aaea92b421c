// The chat inside a widget: reports unread messages and closing to the embedding page.

/** Posts messages to the embedding page; does nothing without one. */
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
      // The messages before connecting were already read.
      if (visible || Date.parse(message.created_at) < startedAt) return;
      unread += 1;
      report();
    },
  };
}
