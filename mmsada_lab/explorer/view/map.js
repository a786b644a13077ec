// One scatter: its canvas, what part of the map it shows, and what mouse and keys do there.
const CELL = 16; // pixels of the grid in which a point is looked up
const REACH = 14; // pixels within which a point is meant
const SPAN = 33500; // positions lie in -32000..32000; a little air around them
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The scatter of panel p. `atlas` holds what all panels share: scene, positions, kinds of marks, actions. */
class MapPanel {
  constructor(atlas, p) {
    const { N, panels } = atlas.scene;
    Object.assign(this, { atlas, p, scale: 0, x: 0, y: 0, width: 0, height: 0, trail: null });
    Object.assign(this, { xs: new Float32Array(N), ys: new Float32Array(N), places: new Int32Array(N) });
    this.canvas = h("canvas", {
      class: "map", tabindex: 0, role: "application", "aria-label": `Map of ${panels[p].title}`,
      "aria-describedby": atlas.keysId, onpointerdown: (event) => this.press(event),
      onpointermove: (event) => this.move(event), onpointerup: (event) => this.release(event),
      onpointercancel: () => { this.trail = null; }, onpointerleave: () => { if (!this.trail) atlas.hover(p, -1); },
      onblur: () => atlas.hover(p, -1), onwheel: (event) => this.wheel(event), onkeydown: (event) => this.key(event),
    });
    this.context = this.canvas.getContext("2d");
    this.caption = h("figcaption");
    this.element = h("figure", { class: "panel" }, this.caption, this.canvas);
    this.observer = new ResizeObserver(() => { atlas.takeTheme(); this.resize(); }); // colours are known here first
    this.observer.observe(this.canvas);
  }
  shows(n) { return this.atlas.kinds[this.p][n] >= 0; } // whether a point is shown here
  resize() { // follows the size that the page gives; the middle of what is seen stays
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height || (width === this.width && height === this.height)) return;
    const grown = this.width ? Math.min(width, height) / Math.min(this.width, this.height) : 0;
    const [x, y] = [width / 2 + (this.x - this.width / 2) * grown, height / 2 + (this.y - this.height / 2) * grown];
    Object.assign(this, { width, height, x, y, scale: this.scale * grown });
    if (!grown) this.reset();
    this.draw(false);
  }
  reset() { // shows the whole map
    Object.assign(this, { scale: Math.min(this.width, this.height) / 2 / SPAN, x: this.width / 2, y: this.height / 2 });
    this.atlas.request(this, "soft");
  }
  zoom(factor, x = this.width / 2, y = this.height / 2) { // zooms by a factor about a point of the canvas
    const least = Math.min(this.width, this.height) / 4 / SPAN;
    const change = Math.min(400 * least, Math.max(least, this.scale * factor)) / this.scale;
    Object.assign(this, { scale: this.scale * change, x: x + (this.x - x) * change, y: y + (this.y - y) * change });
    this.atlas.request(this, "moving");
  }
  shift(dx, dy) { // moves the map by so many pixels
    Object.assign(this, { x: this.x + dx, y: this.y + dy });
    this.atlas.request(this, "moving");
  }
  project() { // works out where every point lies on the canvas, in CSS pixels
    const { xs, ys, scale, x, y, atlas: { positions } } = this;
    for (let n = 0, k = this.p * xs.length * 2; n < xs.length; n++, k += 2) {
      xs[n] = x + positions[k] * scale;
      ys[n] = y - positions[k + 1] * scale;
    }
    this.grid = null;
  }
  prepare(moving) { // makes pixels and marks ready for this size, resolution and look
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
    if (this.looks !== atlas.looks) this.marks = compileMarks(atlas.looks, atlas, ratio, this.image.width);
    Object.assign(this, { ratio, pad, looks: atlas.looks });
  }
  draw(moving) { // draws all points: fast while moving, with smooth edges at rest
    if (!this.width) return;
    this.prepare(moving);
    this.project();
    const { xs, ys, places, ratio, pad, pixels, marks, image: { width, height } } = this;
    const { order, kinds, looks, dimFrom, palette } = this.atlas;
    const reach = pad / 2; // a mark is no larger
    for (let n = 0; n < places.length; n++) {
      const [column, row] = [Math.round(xs[n] * ratio) + pad, Math.round(ys[n] * ratio) + pad];
      const isSeen = column >= reach && row >= reach && column < width - reach && row < height - reach;
      places[n] = isSeen ? row * width + column : -1;
    }
    pixels.fill(pixelOf(channels(palette.ground)));
    const paint = moving ? paintHard : paintSoft;
    paint(pixels, marks, order, kinds[this.p], places, dimFrom, looks.length);
    paint(pixels, marks, order, kinds[this.p], places, 0, dimFrom);
    this.drawOver();
  }
  drawOver() { // draws what lies over the points: lines to neighbours, rings, the lasso
    const { context, ratio, pad, xs, ys, trail, atlas: { palette, pinned, hovered, neighbours, radius } } = this;
    if (!this.image) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.putImageData(this.image, -pad, -pad);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const stroke = (strokeStyle, lineWidth) => Object.assign(context, { strokeStyle, lineWidth }).stroke();
    const ring = (n, size, width) => {
      context.beginPath();
      context.arc(xs[n], ys[n], size, 0, 2 * Math.PI);
      stroke(palette.ground, width + 2.5);
      stroke(palette.ink, width);
    };
    context.beginPath();
    for (const n of neighbours) {
      context.moveTo(xs[pinned], ys[pinned]);
      context.lineTo(xs[n], ys[n]);
    }
    stroke(palette.ink, 1.25);
    for (const n of neighbours) ring(n, radius + 2, 1.25);
    if (pinned >= 0) ring(pinned, radius + 4, 2.5);
    if (hovered >= 0) ring(hovered, radius + 3, 1.5);
    context.beginPath();
    for (const [x, y] of trail?.polygon ?? []) context.lineTo(x, y);
    context.closePath();
    stroke(palette.ink, 1.25);
    Object.assign(context, { fillStyle: `${palette.ink}18` }).fill();
  }
  hit(x, y) { // the point under a place of the canvas; -1 if there is none
    this.grid ??= buildGrid(this.xs, this.ys, this.width, this.height, CELL, (n) => this.shows(n));
    return nearestPoint(this.grid, x, y, REACH);
  }
  selectWithin(polygon) { // selects the shown points inside a polygon of the canvas
    const rows = Array.from(this.xs.keys());
    this.atlas.select(rows.filter((n) => this.shows(n) && isInside(this.xs[n], this.ys[n], polygon)));
  }
  press({ button: pressed, shiftKey, pointerId, offsetX: x, offsetY: y }) { // begins to pan, or a lasso or a box
    if (pressed !== 0) return;
    this.canvas.setPointerCapture(pointerId);
    this.trail = { tool: shiftKey ? "lasso" : this.atlas.tool(), start: [x, y], last: [x, y], isFar: false };
  }
  move({ offsetX: x, offsetY: y }) { // goes on with it, or tells which point lies under the mouse
    const { trail, atlas, p } = this;
    if (trail) trail.isFar ||= Math.hypot(x - trail.start[0], y - trail.start[1]) > 4;
    atlas.hover(p, trail ? -1 : this.hit(x, y));
    if (!trail?.isFar) return;
    if (trail.tool === "pan") this.shift(x - trail.last[0], y - trail.last[1]);
    else if (trail.tool === "box") trail.polygon = boxBetween(trail.start, [x, y]);
    else (trail.polygon ??= [trail.start]).push([x, y]);
    trail.last = [x, y];
    atlas.request(this, "over");
  }
  release({ offsetX: x, offsetY: y }) { // ends it: a short press pins a point, a lasso or a box selects
    const { trail } = this;
    this.trail = null;
    const n = trail && !trail.isFar ? this.hit(x, y) : -1;
    if (n >= 0) this.atlas.pin(n);
    if (trail?.polygon) this.selectWithin(trail.polygon);
  }
  wheel(event) { // zooms about the mouse
    event.preventDefault();
    this.zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 400), event.offsetX, event.offsetY);
  }
  step([dx, dy]) { // moves the cursor in a direction; it begins at the pinned point or in the middle
    const { atlas, xs, ys, width, height } = this;
    const [from, isShown] = [atlas.hovered, (n) => this.shows(n)];
    let n = from < 0 ? atlas.pinned : nearestTowards(xs, ys, xs[from], ys[from], dx, dy, isShown);
    if (from < 0 && n < 0) {
      n = nearestPoint(buildGrid(xs, ys, width, height, CELL, isShown), width / 2, height / 2, width + height);
    }
    if (n < 0) return;
    const outside = (value, size) => (value < 8 || value > size - 8 ? size / 2 - value : 0);
    this.shift(outside(xs[n], width), outside(ys[n], height));
    atlas.hover(this.p, n);
  }
  key(event) { // what the keys do on a map
    const { atlas, width, height } = this;
    const n = atlas.hovered;
    const onPoint = { Enter: () => atlas.pin(n), " ": () => atlas.toggle(n) };
    const keys = {
      "+": () => this.zoom(1.3), "=": () => this.zoom(1.3), "-": () => this.zoom(1 / 1.3), 0: () => this.reset(),
      a: () => this.selectWithin(boxBetween([0, 0], [width, height])), ...(n >= 0 ? onPoint : {}),
    };
    const action = ARROWS[event.key] ? () => this.step(ARROWS[event.key]) : keys[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  }
}
