// Wait until the link is opened, perhaps on another device, and count down to the next mail.
const line = document.querySelector("[data-verify]");
const again = document.querySelector("[data-resend-after]");
const EVERY = 2000;

async function ask() {
  try {
    const answer = await fetch("/verify/state", { headers: { Accept: "application/json" } });
    const { state } = answer.ok ? await answer.json() : {};
    if (state === "verified") line.lastElementChild.textContent = line.dataset.confirmed;
    if (state === "verified" || state === "expired") return location.replace("/verify");
  } catch {
    // Offline for a moment; the next request tries again.
  }
  setTimeout(ask, EVERY);
}

function count(left) {
  again.disabled = left > 0;
  again.textContent = left > 0 ? again.dataset.counting.replace("%", left) : again.dataset.label;
  if (left > 0) setTimeout(count, 1000, left - 1);
}

line.hidden = false;
again.dataset.label = again.textContent;
count(Number(again.dataset.resendAfter));
setTimeout(ask, EVERY);
