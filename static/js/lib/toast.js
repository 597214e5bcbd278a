// Short words in the corner: said politely, gone after a while, never the only place of an error.
export function toast(text, kind = "good") {
  const line = document.createElement("p")
  line.className = `notice ${kind}`
  line.textContent = text
  document.getElementById("toasts")?.append(line)
  fade(line)
}

export function fade(line, after_ms = 8000) {
  setTimeout(() => line.remove(), after_ms)
}
