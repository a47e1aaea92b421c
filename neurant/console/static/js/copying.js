// A button that copies the text of another element and confirms it.
const SHOWN = 2000;

export function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
    } catch {
      // There is no clipboard without https, so the text is selected for copying by keyboard.
      getSelection().selectAllChildren(source);
      return;
    }
    const label = button.querySelector("[data-label]");
    const before = label.textContent;
    label.textContent = button.dataset.copied;
    setTimeout(() => {
      label.textContent = before;
    }, SHOWN);
  });
}
