// Make the invitation form a dialog; without this script it is a part of the page.
import { startToasts } from "./toasts.js";

startToasts();
const dialog = document.getElementById("invite");
if (dialog) {
  const failed = dialog.hasAttribute("data-failed");
  dialog.close();
  for (const opener of document.querySelectorAll("[data-invite]")) {
    opener.addEventListener("click", (event) => {
      event.preventDefault();
      dialog.showModal();
    });
  }
  for (const button of dialog.querySelectorAll("[data-dismiss]")) {
    button.hidden = false;
    button.addEventListener("click", () => dialog.close());
  }
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  if (failed) dialog.showModal();
}
