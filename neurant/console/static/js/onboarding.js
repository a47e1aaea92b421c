// The first documents: the names of the chosen files, how far they are read, suggested questions.
const WORKING_MS = 1500;
const learned = document.getElementById("learned");
const form = document.querySelector("[data-adds-documents]");

if (learned) {
  setInterval(() => {
    if (!document.hidden && learned.querySelector("[data-working]"))
      window.htmx.trigger(learned, "refresh");
  }, WORKING_MS);
  const thread = document.getElementById("trial-thread");
  const log = thread.parentElement;
  const showNewest = () => {
    log.scrollTop = log.scrollHeight;
  };
  new MutationObserver(showNewest).observe(thread, { childList: true });
}

if (form) {
  const zone = form.querySelector(".drop");
  const chosen = zone.querySelector("[data-chosen]");
  const invitation = chosen.textContent;
  const show = () => {
    const names = [...form.elements.file.files].map((file) => file.name);
    chosen.textContent = names.join(", ") || invitation;
  };
  form.elements.file.addEventListener("change", show);
  show(); // a browser may keep the chosen files when it shows the page again
  for (const name of ["dragenter", "dragover"])
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.add("is-over");
    });
  for (const name of ["dragleave", "drop"])
    zone.addEventListener(name, () => zone.classList.remove("is-over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    form.elements.file.files = event.dataTransfer.files;
    show();
  });
}
