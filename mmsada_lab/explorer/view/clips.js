// Clips: strips of frames that come in pieces, are decoded when they are looked at, and play in step.

const KEPT_STRIPS = 240; // decoded strips kept at hand

/** Strips of all clips: asks the model for pieces, one at a time, those that somebody looks at first. */
class ClipStore {
  constructor(model, clips, count) {
    Object.assign(this, { model, clips, count });
    this.modalities = clips ? Object.keys(clips.modalities) : [];
    this.bytes = Object.fromEntries(this.modalities.map((key) => [key, new Array(count)]));
    this.strips = new Map();
    this.asked = new Set();
    this.missing = 0;
    this.listeners = new Set();
    this.receive = this.receive.bind(this);
    model.on("msg:custom", this.receive);
    if (clips) this.timer = setTimeout(() => this.ask(0), 400);
  }

  /** Asks for a piece unless that was done. */
  ask(piece) {
    const size = this.clips.piece;
    if (this.asked.has(piece) || piece * size >= this.count) return;
    this.asked.add(piece);
    const rows = [piece * size, Math.min(this.count, (piece + 1) * size)];
    this.missing += (rows[1] - rows[0]) * this.modalities.length;
    this.model.send({ kind: "clips", rows });
  }

  /** Takes an answer apart into the strips of its rows, and asks for the next piece when none is on its way. */
  receive(content, buffers) {
    if (content?.kind !== "clips" || !this.bytes[content.modality]) return;
    const all = bytesOfBuffer(buffers[0] ?? new ArrayBuffer(0));
    let start = 0;
    content.sizes.forEach((size, k) => {
      const row = content.rows[0] + k;
      if (this.bytes[content.modality][row] === undefined) this.missing -= 1;
      this.bytes[content.modality][row] = all.subarray(start, start + size);
      start += size;
    });
    for (const listener of this.listeners) listener();
    if (this.missing > 0) return;
    let next = 0;
    while (this.asked.has(next)) next += 1;
    this.timer = setTimeout(() => this.ask(next), 60);
  }

  /** What is known of a strip: {bitmap}, or {word} that says why there is none (yet). */
  strip(row, modality) {
    if (!this.clips) return { word: "no clips" };
    this.ask(Math.floor(row / this.clips.piece));
    const bytes = this.bytes[modality][row];
    if (bytes === undefined) return { word: "loading" };
    if (bytes.length === 0) return { word: "no clip" };
    const key = `${modality} ${row}`;
    const known = this.strips.get(key) ?? this.load(key, bytes, this.clips.modalities[modality].type);
    this.strips.delete(key);
    this.strips.set(key, known); // the last looked at is the last to go
    return known;
  }

  /** Decodes a strip; listeners hear of the end of it. */
  load(key, bytes, type) {
    const strip = { word: "loading" };
    createImageBitmap(new Blob([bytes], { type })).then(
      (bitmap) => Object.assign(strip, { bitmap, word: "" }),
      () => Object.assign(strip, { word: "does not decode" }),
    ).then(() => { for (const listener of this.listeners) listener(); });
    if (this.strips.size >= KEPT_STRIPS) {
      const [oldest, gone] = this.strips.entries().next().value;
      gone.bitmap?.close();
      this.strips.delete(oldest);
    }
    return strip;
  }

  /** A canvas for one modality of a clip, of the size of a frame. */
  screen(modality) {
    const { width, height } = this.clips.modalities[modality];
    return h("canvas", { class: "clip", width, height, role: "img", "data-modality": modality });
  }

  /** Draws a frame of a clip into a canvas, or the word for why it cannot. */
  draw(canvas, row, frame) {
    const { modality } = canvas.dataset;
    const { width, height, frames = this.clips.frames } = this.clips.modalities[modality];
    const { bitmap, word } = this.strip(row, modality);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    canvas.setAttribute("aria-label", `${modality} of ${row < 0 ? "no clip" : "the clip"}${word ? `: ${word}` : ""}`);
    canvas.dataset.word = word;
    if (!bitmap) {
      delete canvas.dataset.frame;
      context.fillStyle = getComputedStyle(canvas).color;
      context.font = "9px sans-serif";
      context.textAlign = "center";
      context.fillText(word, width / 2, height / 2 + 3, width - 4);
      return;
    }
    const held = Math.max(1, Math.round(bitmap.width / width)); // a still holds one frame only
    const shown = Math.floor((frame * held) / frames);
    canvas.dataset.frame = frame;
    context.drawImage(bitmap, (shown * bitmap.width) / held, 0, bitmap.width / held, bitmap.height, 0, 0, width, height);
  }

  /** Ends all that goes on. */
  close() {
    clearTimeout(this.timer);
    this.model.off("msg:custom", this.receive);
    this.listeners.clear();
  }
}

/** Plays one clip on the canvases of its modalities: one frame number, hence in step. */
class Player {
  constructor(store, onframe = () => {}) {
    Object.assign(this, { store, onframe, row: -1, frame: 0, canvases: [], timer: null });
    this.draw = this.draw.bind(this);
    store.listeners.add(this.draw);
  }

  /** Whether frames advance. */
  get playing() {
    return this.timer !== null;
  }

  /** Shows a clip; it stands at its middle frame unless it is to play. */
  show(row, canvases, playing) {
    Object.assign(this, { row, canvases });
    this.frame = playing ? 0 : Math.floor((this.store.clips?.frames ?? 0) / 2);
    this.play(playing);
  }

  /** Lets frames advance, or stops them. */
  play(on) {
    clearInterval(this.timer);
    this.timer = null;
    if (on && this.row >= 0 && this.store.clips) {
      const { rate, frames } = this.store.clips;
      this.timer = setInterval(() => this.seek((this.frame + 1) % frames), 1000 / rate);
    }
    this.draw();
  }

  /** Goes to a frame. */
  seek(frame) {
    this.frame = frame;
    this.draw();
  }

  /** Draws the present frame of every modality. */
  draw() {
    if (this.row < 0) return;
    for (const canvas of this.canvases) this.store.draw(canvas, this.row, this.frame);
    this.onframe();
  }

  /** Shows nothing any more. */
  hide() {
    this.row = -1;
    this.play(false);
    this.canvases = [];
  }
}
