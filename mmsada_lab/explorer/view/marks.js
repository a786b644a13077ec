// Writing marks (discs of the source, diamonds of the target) straight into the pixels of a canvas.

const PAD = 16; // pixels around the canvas, twice the reach of a mark: one at the edge needs no check

/** How much of the pixel at (x, y) a mark of this radius covers, 0..1. */
function coverage(shape, radius, x, y) {
  const outside = shape === "diamond"
    ? (Math.abs(x) + Math.abs(y)) / Math.SQRT2 - 0.9 * radius : Math.hypot(x, y) - radius;
  return Math.min(1, Math.max(0, 0.5 - outside));
}
/** A colour as one number of 32 bits, as the pixels of a canvas hold it. */
const pixelOf = ([red, green, blue]) => (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
/** The pixels of each kind of mark {shape, colour} on a canvas of this width; a rim of the ground sets marks apart. */
function compileMarks(kinds, { radius, rim, width, ground, opacity }) {
  const reach = Math.ceil(radius * 1.3 + rim + 1);
  const below = channels(ground);
  return kinds.map(({ shape, colour }) => {
    const ink = channels(colour);
    const mark = { soft: [], colours: [], alpha: [], hard: [], solid: [] };
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        const outer = coverage(shape, radius + rim, x, y);
        if (outer <= 0) continue;
        const inner = coverage(shape, radius, x, y) / outer;
        mark.soft.push(y * width + x);
        mark.colours.push(...ink.map((value, k) => below[k] + (value - below[k]) * inner));
        mark.alpha.push(outer * opacity);
        if (outer >= 0.5) mark.hard.push(y * width + x);
        if (outer >= 0.5) mark.solid.push(pixelOf(inner >= 0.5 ? ink : below));
      }
    }
    return mark;
  });
}
/** Writes the marks of kinds from..to without blending: fast enough for a map that moves. */
function paintHard(pixels, marks, order, kinds, places, from, to) {
  for (const n of order) {
    if (kinds[n] < from || kinds[n] >= to || places[n] < 0) continue;
    const { hard, solid } = marks[kinds[n]];
    for (let j = 0; j < hard.length; j++) pixels[places[n] + hard[j]] = solid[j];
  }
}
/** Blends them with smooth edges: for a map at rest. */
function paintSoft(pixels, marks, order, kinds, places, from, to) {
  for (const n of order) {
    if (kinds[n] < from || kinds[n] >= to || places[n] < 0) continue;
    const { soft, colours, alpha } = marks[kinds[n]];
    for (let j = 0; j < soft.length; j++) {
      const at = places[n] + soft[j];
      const [r, g, b] = [pixels[at] & 255, (pixels[at] >> 8) & 255, (pixels[at] >> 16) & 255];
      pixels[at] = 0xff000000 | ((b + (colours[3 * j + 2] - b) * alpha[j]) << 16)
        | ((g + (colours[3 * j + 1] - g) * alpha[j]) << 8) | (r + (colours[3 * j] - r) * alpha[j]);
    }
  }
}
