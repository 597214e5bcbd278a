// Asking a model over the API: what is said on the way, as it comes. Errors that people can read carry `isPlain`.
import { csrf } from "lib/csrf"

export async function* ask(url, question, signal) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream", "X-CSRFToken": csrf() },
    body: JSON.stringify(question),
    signal,
  })
  if (!response.ok) throw await problem(response)
  yield* events(response.body)
}

export function plain(message, canRetry) {
  return Object.assign(new Error(message), { isPlain: true, canRetry })
}

// The server's problem details as an error for people.
async function problem(response) {
  const { detail, title } = await response.json().catch(() => ({}))
  if (!detail && !title) return new Error(`status ${response.status}`)
  return plain(detail || title, response.status === 429 || response.status >= 500)
}

// Server-sent events, read from the body of a POST.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let waiting = ""
  try {
    while (true) {
      const { value, done } = await reader.read()
      if (done) return
      const parts = (waiting + value).split("\n\n")
      waiting = parts.pop()
      for (const part of parts) {
        const lines = part.split("\n")
        const find = name => lines.find(line => line.startsWith(`${name}: `))?.slice(name.length + 2)
        if (find("data")) yield { event: find("event"), data: JSON.parse(find("data")) }
      }
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}
