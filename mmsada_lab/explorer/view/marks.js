// Writing marks (discs of the source, diamonds of the target) straight into the pixels of a canvas.
const PAD = 16; // pixels around the canvas, twice the reach of a mark: one at the edge needs no check

function coverage(shape, radius, x, y) { // how much of the pixel at (x, y) a mark of this radius covers, 0..1
  const outside = shape === "diamond"
    ? (Math.abs(x) + Math.abs(y)) / Math.SQRT2 - 0.9 * radius : Math.hypot(x, y) - radius;
  return Math.min(1, Math.max(0, 0.5 - outside));
}
const pixelOf = ([red, green, blue]) => (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0; // as 32 bits
/** The pixels of each kind of mark {shape, colour} on a buffer of this width; a rim of the ground sets marks apart. */
function compileMarks(kinds, { radius: size, rim: edge, opacity, palette }, ratio, width) {
  const [radius, rim, below] = [size * ratio, edge * ratio, channels(palette.ground)];
  const reach = Math.ceil(radius * 1.3 + rim + 1);
  return kinds.map(({ shape, colour }) => {
    const ink = channels(colour);
    const mark = { offsets: [], colours: [], alpha: [], solid: [] };
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        const outer = coverage(shape, radius + rim, x, y);
        if (outer <= 0) continue;
        const inner = coverage(shape, radius, x, y) / outer;
        mark.offsets.push(y * width + x);
        mark.colours.push(...ink.map((value, k) => below[k] + (value - below[k]) * inner));
        mark.alpha.push(outer * opacity);
        mark.solid.push(outer < 0.5 ? 0 : pixelOf(inner >= 0.5 ? ink : below));
      }
    }
    return mark;
  });
}
function paintHard(pixels, marks, order, kinds, places, from, to) { // kinds from..to, not blended: fast
  for (const n of order) {
    if (kinds[n] < from || kinds[n] >= to || places[n] < 0) continue;
    const { offsets, solid } = marks[kinds[n]];
    for (let j = 0; j < offsets.length; j++) if (solid[j]) pixels[places[n] + offsets[j]] = solid[j];
  }
}
function paintSoft(pixels, marks, order, kinds, places, from, to) { // blends them with smooth edges: for a map at rest
  for (const n of order) {
    if (kinds[n] < from || kinds[n] >= to || places[n] < 0) continue;
    const { offsets, colours, alpha } = marks[kinds[n]];
    for (let j = 0; j < offsets.length; j++) {
      const at = places[n] + offsets[j];
      const [r, g, b] = [pixels[at] & 255, (pixels[at] >> 8) & 255, (pixels[at] >> 16) & 255];
      pixels[at] = 0xff000000 | ((b + (colours[3 * j + 2] - b) * alpha[j]) << 16)
        | ((g + (colours[3 * j + 1] - g) * alpha[j]) << 8) | (r + (colours[3 * j] - r) * alpha[j]);
    }
  }
}
