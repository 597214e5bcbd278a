// Stretches of a text. The API counts characters as Python does (code points); a browser's strings count otherwise.

export const length = text => Array.from(text).length

// The text in pieces, [text, stretch or null]: `stretches` are { start, end } in any order; what overlaps is left to the first.
export function cut(text, stretches) {
  const points = Array.from(text), pieces = []
  let at = 0
  for (const each of stretches.toSorted((one, other) => one.start - other.start)) {
    const start = Math.max(at, each.start), end = Math.min(points.length, each.end)
    if (end <= start) continue
    if (start > at) pieces.push([points.slice(at, start).join(""), null])
    pieces.push([points.slice(start, end).join(""), each])
    at = end
  }
  if (at < points.length) pieces.push([points.slice(at).join(""), null])
  return pieces
}

// The same as nodes: what is marked stands in <mark>.
export function marked(text, stretches) {
  return cut(text, stretches).map(([piece, stretch]) => {
    if (!stretch) return piece
    const mark = document.createElement("mark")
    mark.textContent = piece
    return mark
  })
}
