// Numbers and spans of time as people say them.

export const sentence = (words, values) => (words ?? "").replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

export const readable = (value) => {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  if (Math.abs(value) >= 100) return value.toLocaleString(undefined, { maximumFractionDigits: 1 });
  return value.toLocaleString(undefined, { maximumSignificantDigits: 3, minimumSignificantDigits: 3 });
};

export const duration = (seconds) => {
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return [[h, "h"], [m, "min"], [h ? 0 : s, "s"]].filter(([n]) => n).map(([n, unit]) => `${n} ${unit}`).join(" ") || "0 s";
};
