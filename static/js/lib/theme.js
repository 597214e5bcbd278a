// Light, dark, or (empty) as the system: kept in a cookie, so that the server draws the next page right at once.
export function setTheme(name) {
  const age = name ? 31536000 : 0
  document.cookie = `theme=${name}; path=/; max-age=${age}; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`
  if (name) document.documentElement.dataset.theme = name
  else delete document.documentElement.dataset.theme
  document.dispatchEvent(new CustomEvent("theme"))  // charts draw themselves again
}
