// Documents: drag and drop, upload with progress, and the progress of reading.
import { startDialogs } from "./dialogs.js";
import { startToasts } from "./toasts.js";

const form = document.getElementById("upload");
const list = document.getElementById("uploads");
const documents = document.getElementById("documents");
const announcer = document.getElementById("announcer");
const TYPES = /\.(pdf|docx|txt|text|md)$/i;
const WORKING_MS = 1500;

const refresh = () => window.htmx.trigger(documents, "refresh");

function row(file) {
  const item = document.getElementById("uploading").content.firstElementChild.cloneNode(true);
  item.querySelector("[data-type]").textContent = file.name
    .split(".")
    .pop()
    .toUpperCase()
    .slice(0, 4);
  item.querySelector("[data-name]").textContent = file.name;
  item.querySelector("[data-again]").addEventListener("click", () => upload(file, item));
  item.querySelector("[data-forget]").addEventListener("click", () => drop(item));
  list.append(item);
  list.hidden = false;
  return item;
}

function drop(item) {
  item.remove();
  list.hidden = list.children.length === 0;
}

function fail(item, detail, again) {
  item.classList.add("is-failed");
  item.querySelector("[data-detail]").textContent = detail;
  item.querySelector("progress").hidden = true;
  item.querySelector("[data-again]").hidden = !again;
  item.querySelector("[data-forget]").hidden = false;
  announcer.textContent = `${item.querySelector("[data-name]").textContent}: ${detail}`;
}

function upload(file, item = row(file)) {
  if (!TYPES.test(file.name)) return fail(item, form.dataset.wrongType, false);
  if (file.size > Number(form.dataset.limit)) return fail(item, form.dataset.tooLarge, false);
  const progress = item.querySelector("progress");
  item.classList.remove("is-failed");
  progress.hidden = false;
  for (const button of item.querySelectorAll("button")) button.hidden = true;
  // fetch does not report the progress of an upload.
  const request = new XMLHttpRequest();
  request.open("POST", `/v1/chatbots/${form.elements.chatbot_id.value}/documents`);
  request.responseType = "json";
  request.upload.addEventListener("progress", (event) => {
    progress.value = event.lengthComputable ? (100 * event.loaded) / event.total : 0;
  });
  request.addEventListener("error", () => fail(item, form.dataset.offline, true));
  request.addEventListener("load", () => {
    if (request.status >= 400) {
      return fail(item, request.response?.detail ?? form.dataset.offline, request.status >= 500);
    }
    drop(item);
    refresh();
  });
  const body = new FormData();
  body.append("file", file);
  request.send(body);
}

if (form) {
  const zone = form.querySelector(".drop");
  form.elements.file.addEventListener("change", (event) => {
    for (const file of event.target.files) upload(file);
    event.target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.add("is-over");
    });
  }
  for (const name of ["dragleave", "drop"]) {
    zone.addEventListener(name, () => zone.classList.remove("is-over"));
  }
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    for (const file of event.dataTransfer.files) upload(file);
  });
}

setInterval(() => {
  if (!document.hidden && documents.querySelector("[data-working]")) refresh();
}, WORKING_MS);
startDialogs();
startToasts();
