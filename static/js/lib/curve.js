// Curves as parallel arrays that grow at the end. Adding points costs what is new, never what is there.

export class Series {
  steps = [];
  epochs = [];
  times = [];
  walls = [];
  values = [];
  smooth = [];
  #weight = 0;
  #mean = 0;
  #seen = 0;

  get length() {
    return this.steps.length;
  }

  /** False when this step, or a later one, is held already. */
  add(step, epoch, time, value, wall = null) {
    if (this.steps.length && step <= this.steps.at(-1)) return false;
    this.steps.push(step);
    this.epochs.push(epoch);
    this.times.push(time);
    this.walls.push(wall ?? time);
    this.values.push(Number.isFinite(value) ? value : null);
    this.#smoothOne(value);
    return true;
  }

  /** Forget every step after `step`. */
  cut(step) {
    let kept = this.steps.length;
    while (kept && this.steps[kept - 1] > step) kept -= 1;
    for (const column of [this.steps, this.epochs, this.times, this.walls, this.values]) column.length = kept;
    this.weigh(this.#weight);
  }

  /** Smooth with `weight` (0: not at all), as TensorBoard does: an exponential mean without the pull of its start. */
  weigh(weight) {
    this.#weight = weight;
    this.#mean = this.#seen = 0;
    this.smooth = [];
    for (const value of this.values) this.#smoothOne(value);
  }

  #smoothOne(value) {
    if (value === null || !Number.isFinite(value)) return this.smooth.push(null);
    this.#seen += 1;
    this.#mean = this.#mean * this.#weight + (1 - this.#weight) * value;
    return this.smooth.push(this.#mean / (1 - this.#weight ** this.#seen));
  }

  axis(name) {
    return { step: this.steps, epoch: this.epochs, time: this.times, wall: this.walls }[name];
  }

  /** At most about `most` places between `low` and `high` on an axis (and one beyond each end), lowest and highest of
   *  each bucket kept, so that no spike is lost. */
  places(axis, low, high, most = 2000) {
    const xs = this.axis(axis);
    const from = Math.max(0, firstFrom(xs, low) - 1);
    const to = Math.min(xs.length, firstFrom(xs, high) + 2);
    const size = Math.ceil((to - from) / (most / 2));
    const places = [];
    if (size <= 2) {
      for (let at = from; at < to; at += 1) places.push(at);
      return places;
    }
    for (let start = from; start < to; start += size) {
      const end = Math.min(to, start + size);
      let least = start;
      let greatest = start;
      for (let at = start; at < end; at += 1) {
        if (this.values[at] < this.values[least]) least = at;
        if (this.values[at] > this.values[greatest]) greatest = at;
      }
      places.push(Math.min(least, greatest));
      if (least !== greatest) places.push(Math.max(least, greatest));
    }
    if (places.length && places.at(-1) !== to - 1) places.push(to - 1);
    return places;
  }
}

const firstFrom = (xs, wanted) => {
  let low = 0;
  let high = xs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
};

export class Curve {
  series = new Map();
  weights = new Map();

  of(name) {
    if (!this.series.has(name)) {
      const series = new Series();
      series.weigh(this.weights.get(name) ?? 0);
      this.series.set(name, series);
    }
    return this.series.get(name);
  }

  add(points) {
    let added = 0;
    for (const { step, epoch, time, wall, values } of points)
      for (const [name, value] of Object.entries(values)) added += this.of(name).add(step, epoch, time, value, wall);
    return added;
  }

  cut(step) {
    for (const series of this.series.values()) series.cut(step);
  }

  weigh(name, weight) {
    this.weights.set(name, weight);
    this.of(name).weigh(weight);
  }

  /** Every point that is held, as text: one line per step. */
  toCsv() {
    const names = [...this.series.keys()].sort();
    const rows = new Map();
    for (const name of names) {
      const { steps, epochs, times, values } = this.series.get(name);
      steps.forEach((step, at) => {
        if (!rows.has(step)) rows.set(step, { epoch: epochs[at], time: times[at] });
        rows.get(step)[name] = values[at];
      });
    }
    const lines = [...rows].sort(([one], [other]) => one - other);
    const head = ["step", "epoch", "time_s", ...names].join(",");
    return [head, ...lines.map(([step, row]) => [step, row.epoch, row.time, ...names.map((name) => row[name] ?? "")].join(","))].join("\n") + "\n";
  }
}

/** Lines of their own places [{xs, ys: [..]}] as one table [xs, ys, ys, ...] with nulls where a line has no value. */
export function align(lines) {
  const table = [[], ...lines.flatMap((line) => line.ys.map(() => []))];
  const at = lines.map(() => 0);
  for (;;) {
    const next = Math.min(...lines.map((line, i) => (at[i] < line.xs.length ? line.xs[at[i]] : Infinity)));
    if (next === Infinity) return table;
    table[0].push(next);
    let column = 1;
    lines.forEach((line, i) => {
      const isHere = line.xs[at[i]] === next;
      for (const ys of line.ys) table[column++].push(isHere ? ys[at[i]] : null);
      if (isHere) at[i] += 1;
    });
  }
}
