// Probabilities as bars: a name, how much of the whole, the number.
export const share = number => number.toFixed(2)

export function bar(label, value, isBest) {
  const row = document.createElement("div"), name = document.createElement("span")
  const track = document.createElement("i"), number = document.createElement("b")
  row.className = isBest ? "bar best" : "bar"
  name.dir = "auto"
  name.textContent = name.title = label
  track.style.setProperty("--w", `${(100 * value).toFixed(1)}%`)
  number.className = "num"
  number.textContent = share(value)
  row.append(name, track, number)
  return row
}
