// Where things are: lassos, nearest points, axes, colours as numbers. Nothing here touches the page.

/** Whether a point lies inside a polygon [[x, y], ...] (even-odd rule). */
function isInside(x, y, polygon) {
  let inside = false;
  for (let k = 0, last = polygon.length - 1; k < polygon.length; last = k++) {
    const [[x1, y1], [x2, y2]] = [polygon[k], polygon[last]];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}
/** Corners of the box that two points span. */
const boxBetween = ([x1, y1], [x2, y2]) => [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
/** Points sorted into square cells of a canvas; those outside it or not wanted are left out. */
function buildGrid(xs, ys, width, height, cell, isWanted) {
  const [columns, rows] = [Math.max(1, Math.ceil(width / cell)), Math.max(1, Math.ceil(height / cell))];
  const start = new Int32Array(columns * rows + 1);
  const cells = new Int32Array(xs.length).fill(-1);
  for (let n = 0; n < xs.length; n++) {
    if (!isWanted(n) || !(xs[n] >= 0 && ys[n] >= 0 && xs[n] < width && ys[n] < height)) continue;
    cells[n] = Math.floor(ys[n] / cell) * columns + Math.floor(xs[n] / cell);
    start[cells[n] + 1] += 1;
  }
  for (let c = 0; c < columns * rows; c++) start[c + 1] += start[c];
  const free = start.slice();
  const items = new Int32Array(start[columns * rows]);
  for (let n = 0; n < xs.length; n++) if (cells[n] >= 0) items[free[cells[n]]++] = n;
  return { cell, columns, rows, start, items, xs, ys };
}
/** The point of a grid that is nearest to (x, y) and at most `reach` away; -1 if none is. */
function nearestPoint({ cell, columns, rows, start, items, xs, ys }, x, y, reach) {
  const clamp = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value / cell)));
  let [best, least] = [-1, reach * reach];
  for (let row = clamp(y - reach, rows); row <= clamp(y + reach, rows); row++) {
    for (let column = clamp(x - reach, columns); column <= clamp(x + reach, columns); column++) {
      for (let k = start[row * columns + column]; k < start[row * columns + column + 1]; k++) {
        const distance = (xs[items[k]] - x) ** 2 + (ys[items[k]] - y) ** 2;
        if (distance <= least) [best, least] = [items[k], distance];
      }
    }
  }
  return best;
}
/** The wanted point that lies nearest in a direction (dx, dy) from (x, y), sideways counted twice; -1 if none does. */
function nearestTowards(xs, ys, x, y, dx, dy, isWanted) {
  let [best, least] = [-1, Infinity];
  for (let n = 0; n < xs.length; n++) {
    const along = (xs[n] - x) * dx + (ys[n] - y) * dy;
    const aside = Math.abs((xs[n] - x) * dy - (ys[n] - y) * dx);
    if (along <= 0 || aside > 2 * along || along + 2 * aside >= least || !isWanted(n)) continue;
    [best, least] = [n, along + 2 * aside];
  }
  return best;
}
/** Which of `bins` equal parts of 0..1 a value falls into. */
const quantise = (value, bins) => Math.min(bins - 1, Math.max(0, Math.floor(value * bins)));
/** How far a movement has come after the share t of its time: slow, fast, slow. */
const ease = (t) => (t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2);
/** Places of values on an axis, 0..1; on a logarithmic one, 0 lies one typical step before the smallest. */
function axisPlaces(values, log) {
  const logs = values.filter((value) => value > 0).map(Math.log);
  const smallest = Math.min(...logs);
  const step = (Math.max(...logs) - smallest) / (logs.length - 1) || 1;
  const raw = log ? values.map((value) => (value > 0 ? Math.log(value) : logs.length ? smallest - step : 0)) : values;
  const [low, high] = [Math.min(...raw), Math.max(...raw)];
  return raw.map((value) => (high > low ? (value - low) / (high - low) : 0.5));
}
/** Round numbers that divide low..high into about `count` parts. */
function roundTicks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-6) - first + 1 }, (_, k) => (first + k) * step);
}
/** Order in which points are drawn: shuffled, always the same, so that no domain covers the other. */
function shuffledOrder(count) {
  const order = Int32Array.from({ length: count }, (_, n) => n);
  let seed = 12345;
  for (let n = count - 1; n > 0; n--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((seed / 4294967296) * (n + 1));
    [order[n], order[other]] = [order[other], order[n]];
  }
  return order;
}
/** Red, green and blue (0..255) of a colour "#RRGGBB". */
const channels = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
/** The colour that lies the share t of the way from one to another. */
function mix(from, to, t) {
  const other = channels(to);
  const parts = channels(from).map((value, k) => Math.round(value + (other[k] - value) * t));
  return `#${parts.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
/** How light a colour is to the eye, 0..1. */
const lightness = (colour) =>
  channels(colour).reduce((sum, value, k) => sum + (value / 255) * [0.299, 0.587, 0.114][k], 0);
