// What changed from one text to another, word by word; Chinese and Japanese character by character.
const CJK = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}"
const PIECE = new RegExp(`[${CJK}]|(?:(?![${CJK}])[\\p{L}\\p{N}\\p{M}'’])+|\\s+|.`, "gu")
const MOST = 4_000_000  // cells of the table; two texts that need more are told apart as wholes

export const words = text => text.match(PIECE) ?? []

// [{ kind: "same" | "gone" | "new", text }], in order: without the new ones it is `from`, without the gone ones `to`.
export function diff(from, to) {
  const a = words(from), b = words(to), parts = []
  let head = 0, tail = 0
  while (head < a.length && head < b.length && a[head] === b[head]) head++
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++
  const add = (kind, text) => {
    if (parts.at(-1)?.kind === kind) parts.at(-1).text += text
    else if (text) parts.push({ kind, text })
  }
  add("same", a.slice(0, head).join(""))
  for (const [kind, text] of middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail))) add(kind, text)
  add("same", a.slice(a.length - tail).join(""))
  return parts
}

// The longest common subsequence: the table is filled from the end, so that it is read from the start.
function middle(a, b) {
  const width = b.length + 1
  if (!a.length || !b.length || (a.length + 1) * width > MOST) return [["gone", a.join("")], ["new", b.join("")]]
  const longest = new Uint32Array((a.length + 1) * width), found = []
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1])
  let i = 0, j = 0
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push(["same", a[i++]])
      j++
    } else if (j === b.length || (i < a.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) found.push(["gone", a[i++]])
    else found.push(["new", b[j++]])
  }
  return found
}
