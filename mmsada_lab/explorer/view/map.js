// One scatter: its canvas, what part of the map it shows, and what mouse and keys do there.

const CELL = 16; // pixels of the grid in which a point is looked up
const REACH = 14; // pixels within which a point is meant
const SPAN = 33500; // positions lie in -32000..32000; a little air around them
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The scatter of panel p. `atlas` holds what all panels share: scene, positions, kinds of marks, actions. */
class MapPanel {
  constructor(atlas, p) {
    Object.assign(this, { atlas, p, scale: 0, x: 0, y: 0, width: 0, height: 0, moving: false, trail: null });
    const { N } = atlas.scene;
    this.xs = new Float32Array(N);
    this.ys = new Float32Array(N);
    this.places = new Int32Array(N);
    const { title } = atlas.scene.panels[p];
    this.canvas = h("canvas", {
      class: "map", tabindex: 0, role: "application", "aria-label": `Map of ${title}`, "aria-describedby": atlas.keysId,
      onpointerdown: (event) => this.press(event),
      onpointermove: (event) => this.move(event),
      onpointerup: (event) => this.release(event),
      onpointercancel: () => { this.trail = null; },
      onpointerleave: () => { if (!this.trail) atlas.hover(p, -1); },
      onwheel: (event) => this.wheel(event),
      onkeydown: (event) => this.key(event),
      onblur: () => atlas.hover(p, -1),
    });
    this.context = this.canvas.getContext("2d");
    this.caption = h("figcaption");
    this.element = h("figure", { class: "panel" }, this.caption, this.canvas);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.canvas);
  }

  /** Follows the size that the page gives; the middle of what is seen stays. */
  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight || (clientWidth === this.width && clientHeight === this.height)) return;
    const before = Math.min(this.width, this.height);
    const grown = before ? Math.min(clientWidth, clientHeight) / before : 0;
    this.x = clientWidth / 2 + (this.x - this.width / 2) * grown;
    this.y = clientHeight / 2 + (this.y - this.height / 2) * grown;
    this.scale *= grown;
    Object.assign(this, { width: clientWidth, height: clientHeight });
    if (!this.scale) this.reset();
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
    const scale = Math.min(400 * least, Math.max(least, this.scale * factor));
    this.x = x + ((this.x - x) * scale) / this.scale;
    this.y = y + ((this.y - y) * scale) / this.scale;
    this.scale = scale;
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
    const { positions, scene } = this.atlas;
    const { xs, ys, scale, x, y } = this;
    let k = this.p * scene.N * 2;
    for (let n = 0; n < xs.length; n++, k += 2) {
      xs[n] = x + positions[k] * scale;
      ys[n] = y - positions[k + 1] * scale;
    }
    this.grid = null;
  }

  /** Buffer of pixels for this size, resolution and look; made anew when one of them changes. */
  prepare(moving) {
    const { atlas } = this;
    const ratio = moving ? 1 : Math.min(2, window.devicePixelRatio || 1);
    const [columns, rows] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (this.canvas.width !== columns) this.canvas.width = columns;
    if (this.canvas.height !== rows) this.canvas.height = rows;
    const pad = PAD * Math.ceil(ratio);
    const width = columns + 2 * pad;
    if (this.image?.width !== width || this.image.height !== rows + 2 * pad) {
      this.image = new ImageData(width, rows + 2 * pad);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.marks = null;
    }
    Object.assign(this, { ratio, pad });
    if (this.marks?.looks === atlas.looks && this.marks.ratio === ratio) return;
    const { radius, rim, opacity } = atlas;
    const sizes = { radius: radius * ratio, rim: rim * ratio, width, ground: atlas.palette.ground, opacity };
    this.marks = { looks: atlas.looks, ratio, kinds: compileMarks(atlas.looks, sizes) };
  }

  /** Draws all points: fast while moving, with smooth edges at rest. */
  draw(moving) {
    if (!this.width) return;
    const { order, kinds, looks, dimFrom, palette } = this.atlas;
    this.moving = moving;
    this.prepare(moving);
    this.project();
    const { xs, ys, places, ratio, pad, pixels } = this;
    const { width, height } = this.image;
    const margin = pad - 2;
    for (let n = 0; n < places.length; n++) {
      const column = Math.round(xs[n] * ratio) + pad;
      const row = Math.round(ys[n] * ratio) + pad;
      const seen = column > pad - margin && row > pad - margin && column < width - 2 && row < height - 2;
      places[n] = seen && column >= pad - 2 && row >= pad - 2 && column < width - pad + 2 && row < height - pad + 2
        ? row * width + column : -1;
    }
    pixels.fill(pixelOf(channels(palette.ground)));
    const paint = moving ? paintHard : paintSoft;
    paint(pixels, this.marks.kinds, order, kinds[this.p], places, dimFrom, looks.length);
    paint(pixels, this.marks.kinds, order, kinds[this.p], places, 0, dimFrom);
    this.drawOver();
  }

  /** Draws what lies over the points: lines to neighbours, rings, the lasso. */
  drawOver() {
    if (!this.image) return;
    const { context, atlas, ratio, pad, xs, ys } = this;
    const { palette, pinned, hovered, neighbours, corner } = atlas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.putImageData(this.image, -pad, -pad);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.lineJoin = "round";
    const ring = (row, radius, width) => {
      for (const [colour, extra] of [[palette.ground, 2.5], [palette.ink, 0]]) {
        context.beginPath();
        context.arc(xs[row], ys[row], radius, 0, 2 * Math.PI);
        context.strokeStyle = colour;
        context.lineWidth = width + extra;
        context.stroke();
      }
    };
    context.strokeStyle = palette.ink;
    context.lineWidth = 1.25;
    for (const row of neighbours) {
      context.beginPath();
      context.moveTo(xs[pinned], ys[pinned]);
      context.lineTo(xs[row], ys[row]);
      context.stroke();
    }
    for (const row of neighbours) ring(row, atlas.radius + 2, 1.25);
    if (pinned >= 0) ring(pinned, atlas.radius + 4, 2.5);
    if (hovered >= 0) ring(hovered, atlas.radius + 3, 1.5);
    const outline = this.trail?.polygon ?? (corner?.p === this.p && hovered >= 0 ? this.boxOf(corner.row, hovered) : []);
    if (outline.length < 2) return;
    context.beginPath();
    for (const [x, y] of outline) context.lineTo(x, y);
    context.closePath();
    context.fillStyle = `${palette.ink}18`;
    context.fill();
    context.setLineDash([4, 3]);
    context.stroke();
    context.setLineDash([]);
  }

  /** The point under a place of the canvas; -1 if there is none. */
  hit(x, y) {
    const kinds = this.atlas.kinds[this.p];
    this.grid ??= buildGrid(this.xs, this.ys, this.width, this.height, CELL, (n) => kinds[n] >= 0);
    return nearestPoint(this.grid, x, y, REACH);
  }

  /** Shown points inside a polygon of the canvas. */
  within(polygon) {
    const kinds = this.atlas.kinds[this.p];
    const rows = [];
    for (let n = 0; n < this.xs.length; n++) {
      if (kinds[n] >= 0 && isInside(this.xs[n], this.ys[n], polygon)) rows.push(n);
    }
    return rows;
  }

  /** Corners of the box that two points span. */
  boxOf(first, second) {
    const [left, right] = [this.xs[first], this.xs[second]].sort((a, b) => a - b);
    const [top, bottom] = [this.ys[first], this.ys[second]].sort((a, b) => a - b);
    return [[left - 1, top - 1], [right + 1, top - 1], [right + 1, bottom + 1], [left - 1, bottom + 1]];
  }

  /** Begins to pan, or to draw a lasso or a box. */
  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const tool = event.shiftKey ? "lasso" : this.atlas.tool();
    this.trail = { tool, start: [event.offsetX, event.offsetY], last: [event.offsetX, event.offsetY], far: false };
  }

  /** Goes on with it, or tells which point lies under the mouse. */
  move(event) {
    const { offsetX: x, offsetY: y } = event;
    const { trail } = this;
    if (!trail) {
      this.atlas.hover(this.p, this.hit(x, y));
      return;
    }
    const [x0, y0] = trail.start;
    trail.far ||= Math.hypot(x - x0, y - y0) > 4;
    if (!trail.far) return;
    if (trail.tool === "pan") this.shift(x - trail.last[0], y - trail.last[1]);
    else if (trail.tool === "box") trail.polygon = [[x0, y0], [x, y0], [x, y], [x0, y]];
    else (trail.polygon ??= [trail.start]).push([x, y]);
    trail.last = [x, y];
    this.atlas.hover(this.p, -1);
    this.atlas.request(this, "over");
  }

  /** Ends it: a short press pins a point, a lasso or a box selects. */
  release(event) {
    const { trail } = this;
    this.trail = null;
    if (!trail) return;
    if (!trail.far) {
      const row = this.hit(event.offsetX, event.offsetY);
      if (row >= 0) this.atlas.pin(row);
    } else if (trail.polygon) {
      this.atlas.select(this.within(trail.polygon));
    }
    this.atlas.request(this, "over");
  }

  /** Zooms about the mouse. */
  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 400), event.offsetX, event.offsetY);
  }

  /** Moves the cursor to the nearest point in a direction, or to the one nearest to the middle. */
  step([dx, dy]) {
    const { atlas, xs, ys } = this;
    const wanted = (n) => atlas.kinds[this.p][n] >= 0;
    let row = atlas.hovered < 0 ? atlas.pinned : nearestTowards(xs, ys, xs[atlas.hovered], ys[atlas.hovered], dx, dy, wanted);
    if (row < 0 && atlas.hovered < 0) {
      const everywhere = buildGrid(xs, ys, this.width, this.height, CELL, wanted);
      row = nearestPoint(everywhere, this.width / 2, this.height / 2, Math.hypot(this.width, this.height));
    }
    if (row < 0) return;
    const outside = (value, size) => (value < 8 || value > size - 8 ? size / 2 - value : 0);
    const [sx, sy] = [outside(xs[row], this.width), outside(ys[row], this.height)];
    if (sx || sy) this.shift(sx, sy);
    if (sx || sy) this.project();
    atlas.hover(this.p, row);
  }

  /** What the keys do on a map. */
  key(event) {
    const { atlas, p } = this;
    const { hovered } = atlas;
    const actions = {
      "+": () => this.zoom(1.3),
      "=": () => this.zoom(1.3),
      "-": () => this.zoom(1 / 1.3),
      0: () => this.reset(),
      Enter: () => { if (hovered >= 0) atlas.pin(hovered); },
      " ": () => { if (hovered >= 0) atlas.toggle(hovered); },
      b: () => { if (hovered >= 0) this.mark(hovered); },
    };
    const action = ARROWS[event.key] ? () => this.step(ARROWS[event.key]) : actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action(p);
  }

  /** Marks the first corner of a box, or selects the box from there to this point. */
  mark(row) {
    const { corner } = this.atlas;
    this.atlas.corner = corner?.p === this.p ? null : { p: this.p, row };
    if (corner?.p === this.p) this.atlas.select(this.within(this.boxOf(corner.row, row)));
    this.atlas.request(this, "over");
  }

  /** Stops watching its size. */
  close() {
    this.observer.disconnect();
  }
}
