// A link's token stands behind the "#": it is handed over once and taken out of the address.
const token = location.hash.slice(1);
const form = document.getElementById("open-invitation");
if (token && form) {
  history.replaceState(null, "", location.pathname);
  form.elements.token.value = token;
  form.hidden = true;
  document.getElementById("opening").hidden = false;
  form.submit();
}
