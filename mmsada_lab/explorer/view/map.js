// One scatter: its canvas, what part of the map it shows, and what mouse and keys do there.

const CELL = 16; // pixels of the grid in which a point is looked up
const REACH = 14; // pixels within which a point is meant
const SPAN = 33500; // positions lie in -32000..32000; a little air around them
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The scatter of panel p. `atlas` holds what all panels share: scene, positions, kinds of marks, actions. */
class MapPanel {
  constructor(atlas, p) {
    Object.assign(this, { atlas, p, scale: 0, x: 0, y: 0, width: 0, height: 0, moving: false, trail: null });
    const { N, panels } = atlas.scene;
    Object.assign(this, { xs: new Float32Array(N), ys: new Float32Array(N), places: new Int32Array(N) });
    this.canvas = h("canvas", {
      class: "map", tabindex: 0, role: "application", "aria-label": `Map of ${panels[p].title}`,
      "aria-describedby": atlas.keysId,
      onpointerdown: (event) => this.press(event), onpointermove: (event) => this.move(event),
      onpointerup: (event) => this.release(event), onpointercancel: () => { this.trail = null; },
      onpointerleave: () => { if (!this.trail) atlas.hover(p, -1); }, onblur: () => atlas.hover(p, -1),
      onwheel: (event) => this.wheel(event), onkeydown: (event) => this.key(event),
    });
    this.context = this.canvas.getContext("2d");
    this.caption = h("figcaption");
    this.element = h("figure", { class: "panel" }, this.caption, this.canvas);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.canvas);
  }
  /** Whether a point is shown here. */
  shows(n) {
    return this.atlas.kinds[this.p][n] >= 0;
  }
  /** Follows the size that the page gives; the middle of what is seen stays. */
  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height || (width === this.width && height === this.height)) return;
    const grown = this.width ? Math.min(width, height) / Math.min(this.width, this.height) : 0;
    this.x = width / 2 + (this.x - this.width / 2) * grown;
    this.y = height / 2 + (this.y - this.height / 2) * grown;
    Object.assign(this, { width, height, scale: this.scale * grown });
    if (!grown) this.reset();
    this.draw(false);
  }
  /** Shows the whole map. */
  reset() {
    Object.assign(this, { scale: Math.min(this.width, this.height) / 2 / SPAN, x: this.width / 2, y: this.height / 2 });
    this.atlas.request(this, "soft");
  }
  /** Zooms by a factor about a point of the canvas. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const least = Math.min(this.width, this.height) / 4 / SPAN;
    const change = Math.min(400 * least, Math.max(least, this.scale * factor)) / this.scale;
    Object.assign(this, { scale: this.scale * change, x: x + (this.x - x) * change, y: y + (this.y - y) * change });
    this.atlas.request(this, "moving");
  }
  /** Moves the map by so many pixels. */
  shift(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.atlas.request(this, "moving");
  }
  /** Works out where every point lies on the canvas, in CSS pixels. */
  project() {
    const { xs, ys, scale, x, y, atlas: { positions } } = this;
    for (let n = 0, k = this.p * xs.length * 2; n < xs.length; n++, k += 2) {
      xs[n] = x + positions[k] * scale;
      ys[n] = y - positions[k + 1] * scale;
    }
    this.grid = null;
  }
  /** Makes pixels and marks ready for this size, resolution and look. */
  prepare(moving) {
    const { atlas, canvas } = this;
    const ratio = moving ? 1 : Math.min(2, window.devicePixelRatio || 1);
    const pad = PAD * Math.ceil(ratio);
    const [columns, rows] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
    if (this.image?.width !== columns + 2 * pad || this.image.height !== rows + 2 * pad) {
      this.image = new ImageData(columns + 2 * pad, rows + 2 * pad);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.looks = null;
    }
    Object.assign(this, { ratio, pad });
    if (this.looks === atlas.looks) return;
    this.looks = atlas.looks;
    this.marks = compileMarks(atlas.looks, {
      radius: atlas.radius * ratio, rim: atlas.rim * ratio, opacity: atlas.opacity,
      width: columns + 2 * pad, ground: atlas.palette.ground,
    });
  }
  /** Draws all points: fast while moving, with smooth edges at rest. */
  draw(moving) {
    if (!this.width) return;
    this.moving = moving;
    this.prepare(moving);
    this.project();
    const { xs, ys, places, ratio, pad, pixels, marks, image: { width, height } } = this;
    const { order, kinds, looks, dimFrom, palette } = this.atlas;
    const reach = pad / 2; // a mark is no larger
    for (let n = 0; n < places.length; n++) {
      const column = Math.round(xs[n] * ratio) + pad;
      const row = Math.round(ys[n] * ratio) + pad;
      const seen = column >= reach && row >= reach && column < width - reach && row < height - reach;
      places[n] = seen ? row * width + column : -1;
    }
    pixels.fill(pixelOf(channels(palette.ground)));
    const paint = moving ? paintHard : paintSoft;
    paint(pixels, marks, order, kinds[this.p], places, dimFrom, looks.length);
    paint(pixels, marks, order, kinds[this.p], places, 0, dimFrom);
    this.drawOver();
  }
  /** Draws what lies over the points: lines to neighbours, rings, the lasso. */
  drawOver() {
    const { context, atlas, ratio, pad, xs, ys } = this;
    const { palette, pinned, hovered, neighbours, corner, radius } = atlas;
    if (!this.image) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.putImageData(this.image, -pad, -pad);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const stroke = (colour, width) => {
      Object.assign(context, { strokeStyle: colour, lineWidth: width });
      context.stroke();
    };
    const ring = (n, size, width) => {
      context.beginPath();
      context.arc(xs[n], ys[n], size, 0, 2 * Math.PI);
      stroke(palette.ground, width + 2.5);
      stroke(palette.ink, width);
    };
    for (const n of neighbours) {
      context.beginPath();
      context.moveTo(xs[pinned], ys[pinned]);
      context.lineTo(xs[n], ys[n]);
      stroke(palette.ink, 1.25);
    }
    for (const n of neighbours) ring(n, radius + 2, 1.25);
    if (pinned >= 0) ring(pinned, radius + 4, 2.5);
    if (hovered >= 0) ring(hovered, radius + 3, 1.5);
    const outline = this.trail?.polygon ?? (corner?.p === this.p && hovered >= 0 ? this.boxTo(hovered) : []);
    context.beginPath();
    for (const [x, y] of outline) context.lineTo(x, y);
    context.closePath();
    context.fillStyle = `${palette.ink}18`;
    context.fill();
    context.setLineDash([4, 3]);
    stroke(palette.ink, 1);
    context.setLineDash([]);
  }
  /** The point under a place of the canvas; -1 if there is none. */
  hit(x, y) {
    this.grid ??= buildGrid(this.xs, this.ys, this.width, this.height, CELL, (n) => this.shows(n));
    return nearestPoint(this.grid, x, y, REACH);
  }
  /** Selects the shown points inside a polygon of the canvas. */
  selectWithin(polygon) {
    const rows = Array.from(this.xs.keys());
    this.atlas.select(rows.filter((n) => this.shows(n) && isInside(this.xs[n], this.ys[n], polygon)));
  }
  /** Box from the marked corner to a point, both of them inside. */
  boxTo(n) {
    const { xs, ys, atlas: { corner: { n: from } } } = this;
    const [right, down] = [xs[n] < xs[from] ? -1 : 1, ys[n] < ys[from] ? -1 : 1];
    return boxBetween([xs[from] - right, ys[from] - down], [xs[n] + right, ys[n] + down]);
  }
  /** Begins to pan, or to draw a lasso or a box. */
  press({ button: pressed, shiftKey, pointerId, offsetX: x, offsetY: y }) {
    if (pressed !== 0) return;
    this.canvas.setPointerCapture(pointerId);
    this.trail = { tool: shiftKey ? "lasso" : this.atlas.tool(), start: [x, y], last: [x, y], far: false };
  }
  /** Goes on with it, or tells which point lies under the mouse. */
  move({ offsetX: x, offsetY: y }) {
    const { trail, atlas, p } = this;
    if (!trail) return atlas.hover(p, this.hit(x, y));
    trail.far ||= Math.hypot(x - trail.start[0], y - trail.start[1]) > 4;
    if (!trail.far) return undefined;
    if (trail.tool === "pan") this.shift(x - trail.last[0], y - trail.last[1]);
    else if (trail.tool === "box") trail.polygon = boxBetween(trail.start, [x, y]);
    else (trail.polygon ??= [trail.start]).push([x, y]);
    trail.last = [x, y];
    atlas.hover(p, -1);
    return atlas.request(this, "over");
  }
  /** Ends it: a short press pins a point, a lasso or a box selects. */
  release({ offsetX: x, offsetY: y }) {
    const { trail } = this;
    this.trail = null;
    const n = trail && !trail.far ? this.hit(x, y) : -1;
    if (n >= 0) this.atlas.pin(n);
    if (trail?.polygon) this.selectWithin(trail.polygon);
  }
  /** Zooms about the mouse. */
  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 400), event.offsetX, event.offsetY);
  }
  /** Moves the cursor to the nearest point in a direction; it begins at the pinned point or in the middle. */
  step([dx, dy]) {
    const { atlas, xs, ys, width, height } = this;
    const shown = (n) => this.shows(n);
    const from = atlas.hovered;
    let n = from < 0 ? atlas.pinned : nearestTowards(xs, ys, xs[from], ys[from], dx, dy, shown);
    if (n < 0 && from < 0) {
      n = nearestPoint(buildGrid(xs, ys, width, height, CELL, shown), width / 2, height / 2, width + height);
    }
    if (n < 0) return;
    const outside = (value, size) => (value < 8 || value > size - 8 ? size / 2 - value : 0);
    const [sx, sy] = [outside(xs[n], width), outside(ys[n], height)];
    if (sx || sy) this.shift(sx, sy);
    atlas.hover(this.p, n);
  }
  /** What the keys do on a map. */
  key(event) {
    const { atlas } = this;
    const n = atlas.hovered;
    const onPoint = { Enter: () => atlas.pin(n), " ": () => atlas.toggle(n), b: () => this.mark(n) };
    const zoom = {
      "+": () => this.zoom(1.3), "=": () => this.zoom(1.3), "-": () => this.zoom(1 / 1.3), 0: () => this.reset(),
    };
    const arrow = ARROWS[event.key];
    const action = arrow ? () => this.step(arrow) : zoom[event.key] ?? (n >= 0 ? onPoint[event.key] : undefined);
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  }
  /** Marks the first corner of a box, or selects the box from there to this point. */
  mark(n) {
    const { corner } = this.atlas;
    if (corner?.p === this.p) this.selectWithin(this.boxTo(n));
    this.atlas.corner = corner?.p === this.p ? null : { p: this.p, n };
  }
}
