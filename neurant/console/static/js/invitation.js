// A link's token stands behind the "#": it is handed over once and taken out of the address.
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

addEventListener("hashchange", handOver); // a link that is pasted where this page is open already
handOver();
