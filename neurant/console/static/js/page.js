// A page that needs no script of its own: its dialogs, its toasts and what can be copied.
import { startCopying } from "./copying.js";
import { startDialogs } from "./dialogs.js";
import { startToasts } from "./toasts.js";

startCopying();
startDialogs();
startToasts();
