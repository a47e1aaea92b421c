// A page that needs no script of its own: its dialogs, its toasts and what can be copied.
import { startCopying } from "./copying.js";
import { startDialogs } from "./dialogs.js";
import { startToasts } from "./toasts.js";

// On a phone the parts of the settings are wider than the screen: the open one is shown.
document
  .querySelector(".parts [aria-current]")
  ?.scrollIntoView({ block: "nearest", inline: "center" });
startCopying();
startDialogs();
startToasts();
