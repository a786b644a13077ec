// Writing marks (discs of the source, diamonds of the target) straight into the pixels of a canvas.

const PAD = 12; // pixels around the canvas, so that a mark at its edge needs no check

/** How much of the pixel at (x, y) a mark of this radius covers, 0..1. */
function coverage(shape, radius, x, y) {
  const outside = shape === "diamond"
    ? (Math.abs(x) + Math.abs(y)) / Math.SQRT2 - 0.9 * radius
    : Math.hypot(x, y) - radius;
  return Math.min(1, Math.max(0, 0.5 - outside));
}

/** The pixels of each kind of mark {shape, colour}, for a canvas of this width; a rim of the ground sets marks apart. */
function compileMarks(kinds, { radius, rim, width, ground, opacity }) {
  const reach = Math.ceil(radius * 1.3 + rim + 1);
  const below = channels(ground);
  return kinds.map(({ shape, colour }) => {
    const ink = channels(colour);
    const mark = { offsets: [], solid: [], red: [], green: [], blue: [], alpha: [], hard: [] };
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        const outer = coverage(shape, radius + rim, x, y);
        if (outer <= 0) continue;
        const inner = coverage(shape, radius, x, y) / outer;
        const [red, green, blue] = ink.map((value, k) => below[k] + (value - below[k]) * inner);
        mark.offsets.push(y * width + x);
        mark.red.push(red);
        mark.green.push(green);
        mark.blue.push(blue);
        mark.alpha.push(outer * opacity);
        if (outer < 0.5) continue;
        mark.hard.push(y * width + x);
        mark.solid.push(pixelOf(inner >= 0.5 ? ink : below));
      }
    }
    return {
      ...mark,
      offsets: Int32Array.from(mark.offsets),
      hard: Int32Array.from(mark.hard),
      solid: Uint32Array.from(mark.solid),
    };
  });
}

/** A colour as one number of 32 bits, as the pixels of a canvas hold it. */
function pixelOf([red, green, blue]) {
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

/** Writes marks without blending: fast enough for a map that moves. */
function paintHard(pixels, marks, order, kinds, places, from, to) {
  for (let k = 0; k < order.length; k++) {
    const n = order[k];
    if (kinds[n] < from || kinds[n] >= to || places[n] < 0) continue;
    const { hard, solid } = marks[kinds[n]];
    const place = places[n];
    for (let j = 0; j < hard.length; j++) pixels[place + hard[j]] = solid[j];
  }
}

/** Blends marks with smooth edges: for a map at rest. */
function paintSoft(pixels, marks, order, kinds, places, from, to) {
  for (let k = 0; k < order.length; k++) {
    const n = order[k];
    if (kinds[n] < from || kinds[n] >= to || places[n] < 0) continue;
    const { offsets, red, green, blue, alpha } = marks[kinds[n]];
    for (let j = 0; j < offsets.length; j++) {
      const at = places[n] + offsets[j];
      const old = pixels[at];
      const r = old & 255;
      const g = (old >> 8) & 255;
      const b = (old >> 16) & 255;
      pixels[at] = 0xff000000
        | ((b + (blue[j] - b) * alpha[j]) << 16)
        | ((g + (green[j] - g) * alpha[j]) << 8)
        | (r + (red[j] - r) * alpha[j]);
    }
  }
}
