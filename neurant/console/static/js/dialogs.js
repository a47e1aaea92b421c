// Dialogs that a button opens. They are outside the redrawn part of the page, so they stay open.

export function startDialogs() {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) open(document.getElementById(opener.dataset.open), opener.dataset.values);
    if (event.target.closest("[data-dismiss]")) event.target.closest("dialog").close();
    const resend = event.target.closest("[data-resend]");
    if (resend) askResend(resend.dataset);
    const retire = event.target.closest("[data-retire]");
    if (retire) askRetire(retire.dataset);
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("htmx:after:request", () => dialog.close());
    // A click on the backdrop is a click on the dialog itself.
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
}

// Fills a dialog: {"name": value} for its fields and for its texts (data-text).
function open(dialog, values) {
  if (!dialog) return;
  for (const [name, value] of Object.entries(JSON.parse(values ?? "{}"))) {
    for (const field of dialog.querySelectorAll(`[name="${name}"]`)) field.value = value;
    for (const text of dialog.querySelectorAll(`[data-text="${name}"]`)) text.textContent = value;
  }
  dialog.showModal();
}

function askResend({ resend, status }) {
  const dialog = document.getElementById("resend");
  dialog.querySelector("[name=message_id]").value = resend;
  for (const text of dialog.querySelectorAll("[data-for]"))
    text.hidden = text.dataset.for !== status;
  dialog.showModal();
}

function askRetire({ retire, name }) {
  const dialog = document.getElementById("retire");
  dialog.querySelector("[name=document_id]").value = retire;
  dialog.querySelector("[data-name]").textContent = name;
  dialog.showModal();
}
