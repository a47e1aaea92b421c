// The floating chat of another site:
//   <script src="https://host/widget.js" data-bot="ROUTING_ID" async></script>
// It uses a shadow root, so that the site's styles and ours do not affect each other.
(() => {
  const script = document.currentScript;
  const bot = script?.dataset.bot;
  if (!bot) {
    console.error("NeurAnt: the script tag needs data-bot");
    return;
  }
  const TEXTS = {}; // the server fills in the catalogue's texts
  const ICONS = {
    open: "M5 5.5h14a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-7l-4.5 3.5v-3.5H5a1 1 0 0 1-1-1v-9a1 1 0 0 1 1-1z",
    close: "m6 9.5 6 6 6-6",
  };
  const origin = new URL(script.src).origin;
  const language = (document.documentElement.lang || navigator.language).startsWith("en")
    ? "en"
    : "es";
  const texts = TEXTS[language];
  const memory = `neurant:${bot}:used`;

  const host = document.createElement("div");
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { all: initial; }
    [hidden] { display: none !important; }
    button { position: fixed; inset: auto 24px 24px auto; display: grid; place-items: center; width: 56px;
      height: 56px; padding: 0; border: 0; border-radius: 50%; background: #C2410C; color: #fff; cursor: pointer;
      box-shadow: 0 2px 6px #12182614, 0 16px 40px #1218262e; z-index: 2147483646; }
    button:hover { background: #A5370A; }
    button:focus-visible { outline: 2px solid #2563EB; outline-offset: 3px; }
    svg { width: 26px; height: 26px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round;
      stroke-linejoin: round; }
    b { position: absolute; top: -3px; right: -3px; min-width: 20px; height: 20px; border-radius: 999px;
      padding: 0 5px; box-sizing: border-box; background: #121826; color: #fff; box-shadow: 0 0 0 2px #fff;
      font: 600 11px/20px system-ui, sans-serif; text-align: center; }
    section { position: fixed; inset: auto 24px 96px auto; width: 384px; height: min(640px, calc(100dvh - 120px));
      border: 1px solid #DDE1E8; border-radius: 16px; overflow: hidden; background: #fff; color-scheme: light dark;
      box-shadow: 0 2px 6px #12182614, 0 16px 40px #1218262e; z-index: 2147483646; }
    @media (prefers-color-scheme: dark) { section { border-color: #2F2F34; background: #18181B; } }
    @media (prefers-reduced-motion: no-preference) {
      section { animation: rise 200ms cubic-bezier(.2, .7, .2, 1); }
      @keyframes rise { from { opacity: 0; translate: 0 12px; } }
    }
    iframe { display: block; width: 100%; height: 100%; border: 0; }
    @media (max-width: 640px) {
      section { inset: 0; width: auto; height: 100dvh; border: 0; border-radius: 0; }
      section:not([hidden]) ~ button { display: none; }
    }
  `);
  shadow.adoptedStyleSheets = [sheet];

  const panel = document.createElement("section");
  panel.setAttribute("role", "dialog");
  panel.setAttribute("aria-label", texts.dialog);
  panel.id = "panel";
  panel.hidden = true;

  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-controls", "panel");
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  icon.append(path);
  const badge = document.createElement("b");
  badge.hidden = true;
  badge.setAttribute("aria-hidden", "true");
  button.append(icon, badge);
  shadow.append(panel, button);

  let frame = null;
  let unread = 0;

  const remember = (used) => {
    try {
      if (used) localStorage.setItem(memory, "1");
      return localStorage.getItem(memory) !== null;
    } catch {
      return false; // the site blocks storage: the chat loads at the first click
    }
  };

  function load() {
    if (frame) return;
    frame = document.createElement("iframe");
    frame.title = texts.dialog;
    frame.src = `${origin}/chat/${encodeURIComponent(bot)}?embed=1&lang=${language}`;
    panel.append(frame);
  }

  const tellVisible = () =>
    frame?.contentWindow.postMessage({ type: "neurant:visible", visible: !panel.hidden }, origin);

  function draw() {
    const isOpen = !panel.hidden;
    path.setAttribute("d", isOpen ? ICONS.close : ICONS.open);
    button.setAttribute("aria-expanded", String(isOpen));
    const label = isOpen ? texts.close : texts.open;
    button.setAttribute(
      "aria-label",
      unread ? `${label} (${texts.unread.replace("{count}", unread)})` : label,
    );
    badge.hidden = isOpen || unread === 0;
    badge.textContent = unread > 9 ? "9+" : String(unread);
  }

  function toggle(isOpen) {
    load();
    remember(true);
    panel.hidden = !isOpen;
    draw();
    tellVisible();
    if (isOpen) frame.focus();
    else button.focus();
  }

  button.addEventListener("click", () => toggle(panel.hidden));
  shadow.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) toggle(false);
  });
  addEventListener("message", (event) => {
    if (!frame || event.source !== frame.contentWindow || event.origin !== origin) return;
    if (event.data?.type === "neurant:ready") tellVisible();
    if (event.data?.type === "neurant:close") toggle(false);
    if (event.data?.type === "neurant:unread") {
      unread = Number(event.data.count) || 0;
      draw();
    }
  });

  draw();
  const start = () => {
    document.body.append(host);
    // A returning visitor sees new answers without opening the chat.
    if (remember(false)) load();
  };
  if (document.body) start();
  else addEventListener("DOMContentLoaded", start);
})();
