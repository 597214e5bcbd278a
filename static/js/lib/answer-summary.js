// <answer-summary>: the summary and how long it is. Where it was chosen from the document, the sentences are marked there.
import { length } from "lib/spans"
import { Written } from "lib/written"

class AnswerSummary extends Written {
  show(answer) {
    super.show(answer)
    const count = length(answer.text).toLocaleString(), share = `${Math.round(100 * answer.ratio)} %`
    this.part("line").textContent = this.say(answer.sentences?.length ? "chosen" : "size", { count, share, sentences: answer.sentences?.length })
    this.marks = answer.sentences ?? []
    this.part("mark").hidden = this.marks.length === 0
    this.part("ratio").style.setProperty("--w", `${(100 * Math.min(1, answer.ratio)).toFixed(1)}%`)
  }
}

customElements.define("answer-summary", AnswerSummary)
