// One live connection to a run: a websocket that resumes by cursor, or polling where sockets are blocked.
// Events: "points" {fence, seq, points, log}, "cut" {fence, step}, "state" {...}, "connection" {how}.

const SILENCE_MS = 35_000; // the server says how it stands every 10 s: who hears nothing for so long connects again
const POLL_MS = 2_000;
const LONGEST_WAIT_MS = 20_000;
const TRIES_BEFORE_POLLING = 3;
const SIGNED_OUT = 4401;
const NOT_FOUND = 4404;

const isLater = ([fence, seq], [heldFence, heldSeq]) => fence > heldFence || (fence === heldFence && seq > heldSeq);

export class Feed extends EventTarget {
  #socket = null;
  #timers = new Set();
  #silence = 0;
  #failures = 0;
  #hasOpened = false;
  #isPolling = false;
  #isClosed = false;
  #cutFence = 0;
  #hurry = () => this.#isClosed || document.hidden || this.how !== "reconnecting" || this.#connect();

  /** `socket`: path of the socket; `api`: address of the same thing in the API, for polling. */
  constructor(socket, api = "") {
    super();
    this.url = new URL(socket, location.href);
    this.url.protocol = this.url.protocol.replace("http", "ws");
    this.api = api;
    this.cursor = [0, 0];
    this.how = "connecting";
    window.addEventListener("online", this.#hurry);
    document.addEventListener("visibilitychange", this.#hurry);
  }

  /** Listeners first, then this: no message can be missed. */
  open() {
    this.#connect();
    return this;
  }

  close() {
    this.#isClosed = true;
    window.removeEventListener("online", this.#hurry);
    document.removeEventListener("visibilitychange", this.#hurry);
    for (const timer of this.#timers) clearTimeout(timer);
    clearTimeout(this.#silence);
    this.#drop();
  }

  #after(ms, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #become(how) {
    if (this.how === how) return;
    this.how = how;
    this.#tell("connection", { how });
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  #connect() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#drop();
    if (this.#isClosed) return;
    this.url.searchParams.set("after", this.cursor.join("."));
    const socket = (this.#socket = new WebSocket(this.url));
    socket.onopen = () => (this.#hasOpened = true);
    socket.onmessage = ({ data }) => {
      this.#failures = 0;
      this.#isPolling = false;
      this.#become("live");
      this.#listen();
      this.take(JSON.parse(data));
    };
    socket.onclose = ({ code }) => this.#lost(code);
    this.#listen();
  }

  #listen() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#connect(), SILENCE_MS);
  }

  #lost(code) {
    this.#socket = null;
    clearTimeout(this.#silence);
    if (code === SIGNED_OUT || code === NOT_FOUND) {
      this.close();
      return this.#become(code === SIGNED_OUT ? "signed-out" : "gone");
    }
    this.#failures += 1;
    if (!this.#isPolling) this.#become("reconnecting");
    const isBlocked = !this.#hasOpened && this.#failures >= TRIES_BEFORE_POLLING;
    if (isBlocked && this.api && !this.#isPolling) {
      this.#isPolling = true;
      this.#poll();
    }
    // Full jitter: many pages that lost the same server do not come back at the same moment.
    const longest = Math.min(LONGEST_WAIT_MS, 500 * 2 ** this.#failures);
    this.#after(this.#isPolling ? LONGEST_WAIT_MS : Math.random() * longest, () => this.#connect());
  }

  async #poll() {
    if (this.#isClosed || !this.#isPolling) return;
    try {
      const [curve, state] = await Promise.all([
        this.#get(`${this.api}/points?after=${this.cursor.join(".")}`),
        this.#get(this.api),
      ]);
      this.#become("polling");
      this.#tell("state", { type: "state", ...state });
      for (const cut of [curve.cut ?? []].flat()) this.take({ type: "cut", ...cut });
      if (curve.points.length || curve.log?.length) this.#tell("points", { points: curve.points, log: curve.log ?? [] });
      if (curve.next) this.cursor = curve.next.split(".").map(Number);
    } catch {
      this.#become("reconnecting");
    }
    setTimeout(() => this.#poll(), POLL_MS);
  }

  async #get(address) {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.json();
  }

  /** One message of the server. What is held already is dropped: a replay does no harm. */
  take(message) {
    if (message.type === "points") {
      const place = [message.fence, message.seq];
      if (!isLater(place, this.cursor)) return;
      this.cursor = place;
    }
    if (message.type === "cut") {
      if (message.fence <= Math.max(this.#cutFence, this.cursor[0])) return;
      this.#cutFence = message.fence;
    }
    this.#tell(message.type, message);
  }
}
