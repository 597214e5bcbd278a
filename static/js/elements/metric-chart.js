// <metric-chart data-series="eval_macro_f1" data-unit="share" data-less>: one metric, measured now and then on rows kept
// apart. A share is told times 100; `data-less` says that less is better.

import { Curve } from "lib/curve";
import { Chart, token, uPlot } from "lib/plot";
import { readable, sentence } from "lib/words";

class MetricChart extends Chart {
  curve = new Curve();

  get canvas() {
    return this.querySelector("[data-canvas]");
  }
  get line() {
    return this.curve.of(this.dataset.series);
  }
  get points() {
    return this.line.length;
  }

  #told = (value) => (this.dataset.unit === "share" && value != null ? (100 * value).toFixed(1) : readable(value));

  build(width) {
    const colour = token(this, "--c2");
    return new uPlot(
      {
        width,
        height: 96,
        padding: [10, 12, 6, 12],
        legend: { show: false },
        cursor: {
          drag: { x: false, y: false },
          y: false,
          points: { size: 8 },
          sync: { key: "run-step", setSeries: false, scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        },
        scales: {
          x: { time: false, range: () => [0, Math.max(Number(this.dataset.steps) || 0, this.line.steps.at(-1) ?? 0) || 1] },
          y: { range: (_, low, high) => (low === high ? [low - 0.05, high + 0.05] : [low - (high - low) * 0.1, high + (high - low) * 0.15]) },
        },
        axes: [{ show: false }, { show: false }],
        series: [{}, { stroke: colour, width: 2, spanGaps: true, points: { show: true, size: 7, fill: colour, width: 0 } }],
        hooks: { setCursor: [(plot) => this.#point(plot.cursor.idx)] },
      },
      [[], []],
      this.canvas,
    );
  }

  fill(plot) {
    plot.setData([this.line.steps, this.line.values]);
  }

  told() {
    const { values, steps } = this.line;
    const isLess = this.hasAttribute("data-less");
    const beats = (value, other) => (isLess ? value < other : value > other);
    const best = values.reduce((best, value, at) => (value !== null && (best < 0 || beats(value, values[best])) ? at : best), -1);
    const words = { last: this.#told(values.at(-1)), best: this.#told(values[best]), step: (steps[best] ?? 0).toLocaleString() };
    this.#say("[data-value]", best < 0 ? "–" : words.last);
    this.#say("[data-note]", sentence(best < 0 ? this.dataset.sayNothing : this.dataset.sayBest, words));
    this.canvas.setAttribute("aria-label", `${this.dataset.title}: ${this.querySelector("[data-note]")?.textContent ?? ""}`);
    this.dataset.points = this.points;
  }

  #point(at) {
    const { values, steps } = this.line;
    if (at === null || at === undefined || values[at] === undefined) return this.told();
    this.#say("[data-value]", this.#told(values[at]));
    return this.#say("[data-note]", sentence(this.dataset.sayStep, { step: steps[at].toLocaleString() }));
  }

  #say(place, words) {
    const element = this.querySelector(place);
    if (element && element.textContent !== words) element.textContent = words;
  }
}

customElements.define("metric-chart", MetricChart);
