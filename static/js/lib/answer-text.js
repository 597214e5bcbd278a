// <answer-text>: an answer of a task that has no drawing of its own.
import { Written } from "lib/written"

customElements.define("answer-text", class extends Written {})
