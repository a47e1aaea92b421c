// The password can be shown while it is typed; without this script the button stays hidden.
for (const button of document.querySelectorAll("[data-reveal]")) {
  const input = document.getElementById(button.dataset.reveal);
  button.hidden = false;
  button.addEventListener("click", () => {
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.setAttribute("aria-pressed", String(!shown));
  });
}
// Copy the recovery codes to the clipboard, one per line.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const lines = [...document.getElementById(button.dataset.copy).children];
    await navigator.clipboard.writeText(lines.map((line) => line.textContent.trim()).join("\n"));
    button.lastElementChild.textContent = button.dataset.copied;
  });
}

// The button of the company's provider shows its name once the address is known; it stays a link.
for (const link of document.querySelectorAll("[data-sso]")) {
  const email = document.getElementById("email");
  const [text, href] = [link.textContent, link.href];
  email.addEventListener("change", async () => {
    const asked = email.value;
    const answer = await fetch(`/login/sso/offer?email=${encodeURIComponent(asked)}`).catch(
      () => null,
    );
    const name = answer?.ok ? (await answer.json()).name : null;
    if (asked !== email.value) return;
    link.textContent = name ? link.dataset.sso.replace("{name}", name) : text;
    const next = new URL(href).searchParams.get("next") ?? "";
    link.href = name
      ? `/login/sso/start?${new URLSearchParams({ email: asked, next, keep: "yes" })}`
      : href;
  });
}
