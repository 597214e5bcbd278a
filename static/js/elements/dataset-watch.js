// <dataset-watch data-socket data-poll data-state>: shows the progress of a reading and reloads the page when it is over;
// with data-until, when a frame of that type comes. Whoever is just following a link is not called back by it.
const POLL_MS = 2_000
const LONGEST_WAIT_MS = 20_000
const LEAVING_MS = 10_000 // a download looks like leaving too, and then the page stays

class DatasetWatch extends HTMLElement {
  connectedCallback() {
    this.isOver = false
    this.failures = 0
    this.leftAt = -LEAVING_MS
    window.addEventListener("beforeunload", this)
    this.connect()
    if (this.dataset.poll) this.timer = setInterval(() => this.poll(), POLL_MS)
  }

  disconnectedCallback() {
    this.isOver = true
    window.removeEventListener("beforeunload", this)
    clearInterval(this.timer)
    this.socket?.close()
  }

  handleEvent() {
    this.leftAt = performance.now()
  }

  connect() {
    const url = new URL(this.dataset.socket, location.href)
    url.protocol = url.protocol.replace("http", "ws")
    this.socket = new WebSocket(url)
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(data))
    this.socket.onclose = ({ code }) => {
      if (this.isOver || code === 4401 || code === 4404) return
      this.failures += 1
      setTimeout(() => this.isOver || this.connect(), Math.random() * Math.min(LONGEST_WAIT_MS, 500 * 2 ** this.failures))
    }
  }

  async poll() {
    if (this.socket.readyState === WebSocket.OPEN) return
    const answer = await fetch(this.dataset.poll, { headers: { Accept: "application/json" } }).catch(() => null)
    if (answer?.ok) this.take({ type: "state", ...(await answer.json()) })
  }

  take(frame) {
    this.failures = 0
    if (frame.type === "progress") this.draw(frame)
    const isNews = this.dataset.until ? frame.type === this.dataset.until : frame.type === "state" && frame.state !== this.dataset.state
    if (!isNews) return
    const wait = this.leftAt + LEAVING_MS - performance.now()
    if (wait > 0) return setTimeout(() => this.take(frame), wait)
    this.isOver = true
    location.reload()
  }

  draw({ done, total }) {
    const bar = this.querySelector("[data-bar]")
    if (!bar || !total) return
    bar.max = total
    bar.value = done
  }
}
customElements.define("dataset-watch", DatasetWatch)
