// Where things are: lassos, nearest points, axes, colours as numbers. Nothing here touches the page.
function isInside(x, y, polygon) { // whether a point lies inside a polygon [[x, y], ...] (even-odd rule)
  let inside = false;
  for (let k = 0, last = polygon.length - 1; k < polygon.length; last = k++) {
    const [[x1, y1], [x2, y2]] = [polygon[k], polygon[last]];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}
const boxBetween = ([x1, y1], [x2, y2]) => [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]; // corners of a box
function buildGrid(xs, ys, width, height, cell, isWanted) { // wanted points of a canvas, sorted into square cells
  const [columns, rows] = [Math.ceil(width / cell) || 1, Math.ceil(height / cell) || 1];
  const cells = Array.from({ length: columns * rows }, () => []);
  for (let n = 0; n < xs.length; n++) {
    if (!isWanted(n) || !(xs[n] >= 0 && ys[n] >= 0 && xs[n] < width && ys[n] < height)) continue;
    cells[Math.floor(ys[n] / cell) * columns + Math.floor(xs[n] / cell)].push(n);
  }
  return { cell, columns, rows, cells, xs, ys };
}
function nearestPoint({ cell, columns, rows, cells, xs, ys }, x, y, reach) { // at most `reach` away; else -1
  const clamp = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value / cell)));
  let [best, least] = [-1, reach * reach];
  for (let row = clamp(y - reach, rows); row <= clamp(y + reach, rows); row++) {
    for (let column = clamp(x - reach, columns); column <= clamp(x + reach, columns); column++) {
      for (const n of cells[row * columns + column]) {
        const distance = (xs[n] - x) ** 2 + (ys[n] - y) ** 2;
        if (distance <= least) [best, least] = [n, distance];
      }
    }
  }
  return best;
}
function nearestTowards(xs, ys, x, y, dx, dy, isWanted) { // nearest in a direction, sideways counted twice; or -1
  let [best, least] = [-1, Infinity];
  for (let n = 0; n < xs.length; n++) {
    const along = (xs[n] - x) * dx + (ys[n] - y) * dy;
    const aside = Math.abs((xs[n] - x) * dy - (ys[n] - y) * dx);
    if (along <= 0 || aside > 2 * along || along + 2 * aside >= least || !isWanted(n)) continue;
    [best, least] = [n, along + 2 * aside];
  }
  return best;
}
const quantise = (value, bins) => Math.min(bins - 1, Math.max(0, Math.floor(value * bins))); // part of 0..1
const ease = (t) => (t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2); // of a movement: slow, fast, slow
function axisPlaces(values, log) { // 0..1; on a logarithmic axis, 0 lies one typical step before the smallest
  const logs = values.filter((value) => value > 0).map(Math.log);
  const smallest = Math.min(...logs);
  const step = (Math.max(...logs) - smallest) / (logs.length - 1) || 1;
  const raw = log ? values.map((value) => (value > 0 ? Math.log(value) : logs.length ? smallest - step : 0)) : values;
  const [low, high] = [Math.min(...raw), Math.max(...raw)];
  return raw.map((value) => (high > low ? (value - low) / (high - low) : 0.5));
}
function roundTicks(low, high, count) { // round numbers that divide low..high into about `count` parts
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-6) - first + 1 }, (_, k) => (first + k) * step);
}
/** Order in which points are drawn: mixed, always in the same way, so that no domain covers the other. */
const mixedOrder = (count) => Int32Array.from({ length: count }, (_, n) => n)
  .sort((a, b) => (Math.imul(a, 2654435761) >>> 0) - (Math.imul(b, 2654435761) >>> 0));
const channels = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)); // of "#RRGGBB"
function mix(from, to, t) { // the colour that lies the share t of the way from one to another
  const other = channels(to);
  const parts = channels(from).map((value, k) => Math.round(value + (other[k] - value) * t));
  return `#${parts.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
/** Whether white reads better on a colour than black does; the better one has a contrast of 4.5 or more. */
const isDark = (colour) =>
  channels(colour).reduce((sum, value, k) => sum + (value / 255) ** 2.2 * [0.2126, 0.7152, 0.0722][k], 0) < 0.179;
