// Where things are: lassos, nearest points, scales, colours as numbers. Nothing here touches the page.

/** Whether a point lies inside a polygon [[x, y], ...] (even-odd rule). */
function isInside(x, y, polygon) {
  let inside = false;
  for (let k = 0, last = polygon.length - 1; k < polygon.length; last = k++) {
    const [x1, y1] = polygon[k];
    const [x2, y2] = polygon[last];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}

/** Points sorted into square cells of a canvas, those outside it or not wanted left out. */
function buildGrid(xs, ys, width, height, cell, wanted) {
  const columns = Math.max(1, Math.ceil(width / cell));
  const rows = Math.max(1, Math.ceil(height / cell));
  const start = new Int32Array(columns * rows + 1);
  const cells = new Int32Array(xs.length).fill(-1);
  for (let n = 0; n < xs.length; n++) {
    if (!wanted(n) || !(xs[n] >= 0 && ys[n] >= 0 && xs[n] < width && ys[n] < height)) continue;
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
function nearestPoint(grid, x, y, reach) {
  const clamp = (value, last) => Math.min(last, Math.max(0, Math.floor(value / grid.cell)));
  let best = -1;
  let least = reach * reach;
  for (let row = clamp(y - reach, grid.rows - 1); row <= clamp(y + reach, grid.rows - 1); row++) {
    for (let column = clamp(x - reach, grid.columns - 1); column <= clamp(x + reach, grid.columns - 1); column++) {
      const c = row * grid.columns + column;
      for (let k = grid.start[c]; k < grid.start[c + 1]; k++) {
        const n = grid.items[k];
        const distance = (grid.xs[n] - x) ** 2 + (grid.ys[n] - y) ** 2;
        if (distance <= least) [best, least] = [n, distance];
      }
    }
  }
  return best;
}

/** The wanted point that lies nearest in a direction (dx, dy) from (x, y), sideways counted twice; -1 if none does. */
function nearestTowards(xs, ys, x, y, dx, dy, wanted) {
  let best = -1;
  let least = Infinity;
  for (let n = 0; n < xs.length; n++) {
    const along = (xs[n] - x) * dx + (ys[n] - y) * dy;
    const aside = Math.abs((xs[n] - x) * dy - (ys[n] - y) * dx);
    if (along <= 0 || aside > 2 * along || along + 2 * aside >= least || !wanted(n)) continue;
    [best, least] = [n, along + 2 * aside];
  }
  return best;
}

/** Which of `bins` equal parts of 0..1 a value falls into. */
function quantise(value, bins) {
  return Math.min(bins - 1, Math.max(0, Math.floor(value * bins)));
}

/** How far a movement has come after the share t of its time: slow, fast, slow. */
function ease(t) {
  return t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2;
}

/** Places of values on an axis, 0..1; on a logarithmic one, 0 lies one typical step before the smallest. */
function axisPlaces(values, log) {
  const positive = values.filter((value) => value > 0).map(Math.log);
  const smallest = Math.min(...positive);
  const span = Math.max(...positive) - smallest;
  const step = positive.length > 1 && span > 0 ? span / (positive.length - 1) : 1;
  const raw = log && positive.length
    ? values.map((value) => (value > 0 ? Math.log(value) : smallest - step))
    : values;
  const low = Math.min(...raw);
  const width = Math.max(...raw) - low;
  return raw.map((value) => (width ? (value - low) / width : 0.5));
}

/** Round numbers that divide low..high into about `count` parts. */
function roundTicks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-6; k++) ticks.push(k * step);
  return ticks;
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
function channels(colour) {
  return [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
}

/** The colour that lies the share t of the way from one to another. */
function mix(from, to, t) {
  const other = channels(to);
  const parts = channels(from).map((value, k) => Math.round(value + (other[k] - value) * t));
  return `#${parts.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** How light a colour is to the eye, 0..1. */
function lightness(colour) {
  const [red, green, blue] = channels(colour);
  return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
}
