// The token follows the "#" of the link: submit it once and remove it from the address.
const form = document.getElementById("open-invitation");

function handOver() {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  form.elements.token.value = token;
  form.hidden = true;
  document.getElementById("opening").hidden = false;
  form.submit();
}

addEventListener("hashchange", handOver); // a link that is pasted while this page is open
handOver();
