// A question as the source text of a program.

export const shell = question => JSON.stringify(question).replaceAll("'", "'\\''")

export const javascript = question => JSON.stringify(question)

const WORDS = new Map([[true, "True"], [false, "False"], [null, "None"]])

export function python(value) {
  if (WORDS.has(value)) return WORDS.get(value)
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`
  if (typeof value !== "object") return JSON.stringify(value)
  return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each)}`).join(", ")}}`
}
