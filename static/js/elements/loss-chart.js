// <loss-chart data-steps data-epochs data-name>: training and validation loss as they arrive.
// Properties for whoever feeds it: `curve`, `add(points)`, `cut(step)`; `points` counts what it holds.

import { Curve, align } from "lib/curve";
import { Chart, save, token, uPlot } from "lib/plot";
import { duration, readable, sentence } from "lib/words";

const SMOOTHING = 0.8;
const FEW = 18; // points over which the mean of a short curve reaches at most
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800]; // between two marks of time
const PLACES = 2000; // drawn per line: more than a screen has pixels

class LossChart extends Chart {
  curve = new Curve();
  axis = "step";
  isLog = false;
  zoom = null; // [low, high] on the axis, chosen by a person: arriving points never change it
  dropped = new Set();

  connectedCallback() {
    this.tools = this.querySelector("[data-tools]");
    this.tools?.addEventListener("click", this.#press);
    this.tools?.addEventListener("input", this.#slide);
    this.legend?.addEventListener("click", this.#press);
    this.canvas.addEventListener("keydown", this.#key);
    this.canvas.addEventListener("dblclick", this.#wide);
    const asked = new URLSearchParams(location.search); // a link to the chart as somebody saw it
    if (asked.has("smoothing")) this.isChosen = true;
    this.#weigh(asked.get("smoothing") ?? this.recall("smoothing") ?? SMOOTHING);
    if (["epoch", "time", "wall"].includes(asked.get("axis"))) this.axis = asked.get("axis");
    this.isLog = asked.has("log");
    for (const each of this.tools?.querySelectorAll("[data-axis]") ?? []) each.setAttribute("aria-pressed", each.dataset.axis === this.axis);
    this.tools?.querySelector("[data-act=log]")?.setAttribute("aria-pressed", this.isLog);
    super.connectedCallback();
  }

  disconnectedCallback() {
    this.tools?.removeEventListener("click", this.#press);
    this.tools?.removeEventListener("input", this.#slide);
    this.legend?.removeEventListener("click", this.#press);
    this.canvas.removeEventListener("keydown", this.#key);
    this.canvas.removeEventListener("dblclick", this.#wide);
    super.disconnectedCallback();
  }

  get canvas() {
    return this.querySelector("[data-canvas]");
  }
  get legend() {
    return this.querySelector("[data-legend]");
  }
  get slider() {
    return this.querySelector("input[type=range]");
  }
  get train() {
    return this.curve.of("loss");
  }
  get valid() {
    return this.curve.of("eval_loss");
  }
  get points() {
    return this.train.length;
  }

  add(points) {
    this.curve.add(points);
    this.changed();
  }

  cut(step) {
    this.curve.cut(step);
    this.changed();
  }

  #press = ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const { axis, act, line } = button.dataset;
    if (axis) this.#turn(axis);
    if (line) this.#toggle(line, button);
    if (act === "log") {
      this.isLog = !this.isLog;
      button.setAttribute("aria-pressed", this.isLog);
      this.#say("log", this.isLog ? "1" : "");
      this.rebuild();
    }
    if (act === "wide") this.#wide();
    if (act === "csv") save(`${this.dataset.name}-curve.csv`, new Blob([this.curve.toCsv()], { type: "text/csv" }));
    if (act === "png") this.#picture();
  };

  #slide = ({ target }) => {
    this.isChosen = true;
    this.#weigh(target.value);
    this.remember("smoothing", target.value);
    this.#say("smoothing", target.value);
    this.changed();
  };

  /** The address keeps how the chart is looked at; what is usual stays out of it. */
  #say(name, value) {
    const address = new URL(location.href);
    if (value) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
    history.replaceState(history.state, "", address);
  }

  #weigh(weight) {
    if (this.slider) this.slider.value = weight;
    this.curve.weigh("loss", Number(weight));
  }

  /** A short curve is smoothed less: a mean over most of its points would lie far from all of them. A choice is kept. */
  #fit() {
    if (this.isChosen || this.recall("smoothing") !== null) return;
    const fit = Math.max(0, Math.min(SMOOTHING, 1 - FEW / Math.max(this.points, 1)));
    if (this.slider && Math.abs(Number(this.slider.value) - fit) >= 0.01) this.#weigh(fit.toFixed(2));
  }

  #turn(axis) {
    this.axis = axis;
    this.zoom = null;
    this.#say("axis", axis === "step" ? "" : axis);
    for (const each of this.tools.querySelectorAll("[data-axis]")) each.setAttribute("aria-pressed", each.dataset.axis === axis);
    this.rebuild();
  }

  #toggle(line, button) {
    this.dropped.has(line) ? this.dropped.delete(line) : this.dropped.add(line);
    button.setAttribute("aria-pressed", !this.dropped.has(line));
    this.rebuild();
  }

  #wide = () => {
    this.zoom = null;
    this.changed();
  };

  #key = (event) => {
    const [low, high] = this.zoom ?? this.#whole();
    const span = high - low;
    const key = event.key === "=" ? "+" : event.key;
    const views = {
      "+": [low + span / 4, high - span / 4],
      "-": [low - span / 2, high + span / 2],
      ArrowLeft: [low - span / 10, high - span / 10],
      ArrowRight: [low + span / 10, high + span / 10],
      0: null,
    };
    if (!(key in views) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (key.startsWith("Arrow") && !this.zoom) return;
    event.preventDefault();
    const [least, most] = this.#whole();
    const view = views[key];
    this.zoom = view && (view[1] - view[0] < most - least ? view : null);
    this.changed();
  };

  /** The whole of the axis: up to the run's end, not only to what is there. */
  #whole() {
    const last = Math.max(this.train.axis(this.axis).at(-1) ?? 0, this.valid.axis(this.axis).at(-1) ?? 0);
    const planned = { step: Number(this.dataset.steps), epoch: Number(this.dataset.epochs) }[this.axis] || 0;
    const first = this.axis === "wall" ? Math.min(...[this.train, this.valid].map((line) => line.walls[0] ?? Infinity)) : 0;
    return [Number.isFinite(first) ? first : 0, Math.max(last, planned, (Number.isFinite(first) ? first : 0) + 1)];
  }

  build(width) {
    const [ink, line] = [token(this, "--ink-3"), token(this, "--line")];
    const [train, valid, live] = [token(this, "--c1"), token(this, "--c2"), token(this, "--live")];
    const font = `12px ${token(this, "--font")}`;
    const axis = { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
    const isShown = (name) => !this.dropped.has(name);
    const isTime = this.axis === "time" || this.axis === "wall";
    const say = { time: duration, wall: clock }[this.axis] ?? ((v) => v.toLocaleString());
    const x = { space: isTime ? 84 : 56, ...(isTime && { incrs: SECONDS }), values: (_, values) => values.map(say) };
    return new uPlot(
      {
        width,
        height: width < 480 ? 220 : 270,
        padding: [12, 16, 0, 0],
        legend: { show: false },
        cursor: {
          drag: { x: true, y: false, setScale: false },
          sync: { key: `run-${this.axis}`, setSeries: false, scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
          points: { size: 8 },
          bind: { dblclick: () => null },
        },
        scales: {
          x: { time: false, range: () => this.zoom ?? this.#whole() },
          y: { distr: this.isLog ? 3 : 1, range: this.isLog ? undefined : (_, low, high) => [Math.max(0, low - (high - low || 1) * 0.08), high + (high - low || 1) * 0.06] },
        },
        axes: [{ ...axis, grid: { show: false }, size: 30, ...x }, { ...axis, size: 52 }],
        series: [
          {},
          { stroke: train, alpha: 0.28, width: 1, spanGaps: true, points: { show: false }, show: isShown("train") },
          { stroke: train, width: 2.2, spanGaps: true, points: { show: false }, show: isShown("train") },
          { stroke: valid, width: 2, spanGaps: true, points: { show: true, size: 7, fill: valid, width: 0 }, show: isShown("valid") },
        ],
        hooks: {
          setSelect: [(plot) => this.#chosen(plot)],
          setCursor: [(plot) => this.#tip(plot)],
          draw: [(plot) => this.#now(plot, live)],
        },
      },
      [[], [], [], []],
      this.canvas,
    );
  }

  fill(plot) {
    this.#fit();
    const [low, high] = this.zoom ?? this.#whole();
    const places = this.train.places(this.axis, low, high, PLACES);
    const at = this.train.axis(this.axis);
    this.drawn = places.length;
    const evals = this.valid.places(this.axis, low, high, PLACES);
    const evalAt = this.valid.axis(this.axis);
    plot.setData(
      align([
        { xs: places.map((i) => at[i]), ys: [places.map((i) => this.train.values[i]), places.map((i) => this.train.smooth[i])] },
        { xs: evals.map((i) => evalAt[i]), ys: [evals.map((i) => this.valid.values[i])] },
      ]),
    );
    this.tools?.querySelector("[data-act=wide]")?.toggleAttribute("hidden", !this.zoom);
  }

  told() {
    const { train, valid } = this;
    const values = {
      first: readable(train.smooth[0]),
      last: readable(train.smooth.at(-1)),
      steps: (train.steps.at(-1) ?? 0).toLocaleString(),
      valid: readable(valid.values.at(-1)),
    };
    const words = [train.length ? this.dataset.say : this.dataset.sayNothing, valid.length ? this.dataset.sayValid : ""];
    this.canvas.setAttribute("aria-label", words.map((w) => sentence(w, values)).join(" "));
    for (const [name, value] of [["train", values.last], ["valid", values.valid]]) {
      const place = this.legend?.querySelector(`[data-line=${name}] b`);
      if (place) place.textContent = value;
    }
    this.dataset.points = this.points;
    this.dataset.drawnStep = train.steps.at(-1) ?? 0;
    this.dataset.drawnAt = Date.now();
    this.dispatchEvent(new CustomEvent("drawn", { detail: { step: train.steps.at(-1) ?? 0, at: Date.now() } }));
  }

  #chosen(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    this.zoom = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.changed();
  }

  #tip(plot) {
    const tip = this.querySelector("[data-tip]");
    const { idx, left } = plot.cursor;
    const isOver = idx !== null && idx !== undefined && left >= 0 && this.points > 0;
    if (!tip) return;
    tip.hidden = !isOver;
    if (!isOver) return;
    const x = plot.data[0][idx];
    const place = nearest(this.train.axis(this.axis), x);
    const evalPlace = nearest(this.valid.axis(this.axis), x);
    const shown = {
      step: this.train.steps[place]?.toLocaleString(),
      epoch: this.train.epochs[place]?.toFixed(2),
      time: duration(this.train.times[place] ?? 0),
      smooth: readable(this.train.smooth[place]),
      raw: readable(this.train.values[place]),
      valid: evalPlace < 0 ? "–" : readable(this.valid.values[evalPlace]),
    };
    for (const [name, value] of Object.entries(shown)) {
      const cell = tip.querySelector(`[data-is=${name}]`);
      if (cell) cell.textContent = value;
    }
    const over = plot.over.getBoundingClientRect();
    const mine = this.canvas.getBoundingClientRect();
    const room = over.left - mine.left + left;
    tip.style.left = `${room > mine.width / 2 ? room - tip.offsetWidth - 14 : room + 14}px`;
  }

  /** Where the run is now: a dotted line and a dot, as long as it is under way. */
  #now(plot, colour) {
    if (!this.points || !this.hasAttribute("data-active") || this.dropped.has("train")) return;
    const x = this.train.axis(this.axis).at(-1);
    const [low, high] = this.zoom ?? this.#whole();
    if (x < low || x > high) return;
    const { ctx, bbox } = plot;
    const px = plot.valToPos(x, "x", true);
    const py = plot.valToPos(this.train.smooth.at(-1), "y", true);
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = colour;
    ctx.setLineDash([2 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(px, bbox.top);
    ctx.lineTo(px, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath();
    ctx.arc(px, py, 4.5 * ratio, 0, 2 * Math.PI);
    ctx.fill();
    ctx.restore();
  }

  #picture() {
    const from = this.plot?.ctx.canvas;
    if (!from) return;
    const ratio = devicePixelRatio;
    const top = 44 * ratio;
    const sheet = Object.assign(document.createElement("canvas"), { width: from.width, height: from.height + top });
    const ctx = sheet.getContext("2d");
    ctx.fillStyle = token(this, "--card");
    ctx.fillRect(0, 0, sheet.width, sheet.height);
    ctx.drawImage(from, 0, top);
    ctx.font = `600 ${14 * ratio}px ${token(this, "--font")}`;
    ctx.fillStyle = token(this, "--ink");
    ctx.fillText(this.dataset.name, 16 * ratio, 26 * ratio);
    ctx.font = `${12 * ratio}px ${token(this, "--font")}`;
    let x = sheet.width - 16 * ratio;
    for (const button of [...(this.legend?.querySelectorAll("[data-line]") ?? [])].reverse()) {
      const words = button.textContent.trim().replace(/\s+/g, " ");
      x -= ctx.measureText(words).width;
      ctx.fillStyle = token(this, button.dataset.line === "train" ? "--c1" : "--c2");
      ctx.fillText(words, x, 26 * ratio);
      x -= 20 * ratio;
    }
    sheet.toBlob((blob) => save(`${this.dataset.name}-loss.png`, blob));
  }

  recall(name) {
    try {
      return localStorage.getItem(`chart-${name}`);
    } catch {
      return null; // storage may be closed to us
    }
  }

  remember(name, value) {
    try {
      localStorage.setItem(`chart-${name}`, value);
    } catch {
      // not remembered, nothing else is lost
    }
  }
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** The place of the value nearest to `x` in ascending `xs`, or -1. */
function nearest(xs, x) {
  let low = 0;
  let high = xs.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - xs[low - 1] < xs[low] - x ? low - 1 : high;
}

customElements.define("loss-chart", LossChart);
