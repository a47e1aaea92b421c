// The script of pages without one of their own: dialogs, toasts and copying.
import { startCopying } from "./copying.js";
import { startDialogs } from "./dialogs.js";
import { startToasts } from "./toasts.js";

// On a phone the menu of the settings is wider than the screen, so scroll to the current entry.
document
  .querySelector(".parts [aria-current]")
  ?.scrollIntoView({ block: "nearest", inline: "center" });
startCopying();
startDialogs();
startToasts();
