// A toast shows the result of an action for a while, or until it is closed.
const LONG = 8000;
const SHORT = 5000;

export function startToasts() {
  const corner = document.getElementById("toasts");

  function expire() {
    for (const toast of corner.querySelectorAll(".toast:not([data-timed])")) {
      toast.dataset.timed = "";
      const hide = () => {
        // Keep it while the pointer or the focus is on it.
        if (toast.matches(":hover, :focus-within")) setTimeout(hide, SHORT);
        else toast.remove();
      };
      setTimeout(hide, toast.getAttribute("role") === "alert" ? LONG : SHORT);
    }
  }

  corner.addEventListener("click", (event) => {
    if (event.target.closest("[data-toast-close]")) event.target.closest(".toast").remove();
  });
  new MutationObserver(expire).observe(corner, { childList: true });
  expire();
}
