// The token that unsafe requests carry; pages hand it to htmx in hx-headers, scripts take it from there.
export function csrf() {
  return JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"]
}
