// Clips: strips of frames that come in pieces, are decoded when they are looked at, and play in step.

const KEPT_STRIPS = 240; // decoded strips kept at hand

/** Strips of all clips: asks the model for pieces, one at a time, those that somebody looks at first. */
class ClipStore {
  constructor(model, clips, count) {
    this.modalities = Object.keys(clips?.modalities ?? {});
    const bytes = Object.fromEntries(this.modalities.map((key) => [key, new Array(count)]));
    Object.assign(this, { model, clips, count, bytes, missing: 0, asked: new Set(), strips: new Map(), watchers: new Set() });
    this.receive = this.receive.bind(this);
    model.on("msg:custom", this.receive);
    if (clips) this.timer = setTimeout(() => this.ask(0), 400);
  }
  /** Asks for a piece unless that was done. */
  ask(piece) {
    const rows = [piece * this.clips.piece, Math.min(this.count, (piece + 1) * this.clips.piece)];
    if (this.asked.has(piece) || rows[0] >= this.count) return;
    this.asked.add(piece);
    this.missing += (rows[1] - rows[0]) * this.modalities.length;
    this.model.send({ kind: "clips", rows });
  }
  /** Takes an answer apart into the strips of its rows; asks for the next piece when none is on its way. */
  receive(content, buffers) {
    const held = content?.kind === "clips" && this.bytes[content.modality];
    if (!held) return;
    const all = bytesOfBuffer(buffers[0] ?? new ArrayBuffer(0));
    content.sizes.reduce((start, size, k) => {
      const row = content.rows[0] + k;
      if (!held[row]) this.missing -= 1;
      held[row] = all.subarray(start, start + size);
      return start + size;
    }, 0);
    this.tell();
    if (this.missing > 0) return;
    let next = 0;
    while (this.asked.has(next)) next += 1;
    this.timer = setTimeout(() => this.ask(next), 60);
  }
  /** Tells all players that there is something new to draw. */
  tell() {
    for (const watcher of this.watchers) watcher();
  }
  /** What is known of a strip: its bitmap, or a word that says why there is none (yet). */
  strip(row, modality) {
    this.ask(Math.floor(row / this.clips.piece));
    const bytes = this.bytes[modality][row];
    if (!bytes?.length) return { word: bytes ? "no clip" : "loading" };
    const key = `${modality} ${row}`;
    const known = this.strips.get(key) ?? this.load(bytes, this.clips.modalities[modality].type);
    this.strips.delete(key);
    this.strips.set(key, known); // the last looked at is the last to go
    return known;
  }
  /** Decodes a strip; one that was not looked at for long goes. */
  load(bytes, type) {
    const strip = { word: "loading" };
    createImageBitmap(new Blob([bytes], { type })).then(
      (bitmap) => Object.assign(strip, { bitmap, word: "" }), () => Object.assign(strip, { word: "does not decode" }),
    ).then(() => this.tell());
    if (this.strips.size >= KEPT_STRIPS) {
      const [oldest, gone] = this.strips.entries().next().value;
      gone.bitmap?.close();
      this.strips.delete(oldest);
    }
    return strip;
  }
  /** Canvases of the size of a frame, one for each modality. */
  screens(modalities = this.modalities) {
    return modalities.map((modality) => {
      const { width, height } = this.clips.modalities[modality];
      return h("canvas", { class: "clip", width, height, role: "img", "data-modality": modality });
    });
  }
  /** The same with names beneath, or a word where there are no clips at all. */
  framed(screens) {
    if (!this.clips) return h("p", { class: "faint" }, "This explorer holds no clips.");
    return h("div", { class: "screens" }, screens.map((screen) =>
      h("figure", {}, screen, h("figcaption", {}, screen.dataset.modality))));
  }
  /** Draws a frame of a clip, or the word for why it cannot. */
  draw(canvas, row, frame) {
    const { dataset: { modality }, width, height } = canvas;
    const { bitmap, word } = this.strip(row, modality);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    canvas.setAttribute("aria-label", word ? `${modality}: ${word}` : modality);
    canvas.dataset.frame = bitmap ? frame : "";
    if (bitmap) {
      const held = Math.max(1, Math.round(bitmap.width / width)); // a still holds one frame only
      const size = bitmap.width / held;
      const left = Math.floor((frame * held) / this.clips.frames) * size;
      context.drawImage(bitmap, left, 0, size, bitmap.height, 0, 0, width, height);
      return;
    }
    Object.assign(context, { fillStyle: getComputedStyle(canvas).color, font: "9px sans-serif", textAlign: "center" });
    context.fillText(word, width / 2, height / 2 + 3, width - 4);
  }
}

/** Plays clips on their canvases [[canvas, row], ...]: one frame number, hence all in step. */
class Player {
  constructor(store, onframe = () => {}) {
    Object.assign(this, { store, onframe, frame: 0, pairs: [], timer: null });
    store.watchers.add(() => this.draw());
  }
  /** Shows clips; they stand at their middle frame unless they are to play. */
  show(pairs, playing) {
    this.pairs = pairs;
    this.frame = playing ? 0 : Math.floor((this.store.clips?.frames ?? 0) / 2);
    this.play(playing);
  }
  /** Lets frames advance, or stops them. */
  play(on) {
    clearInterval(this.timer);
    this.timer = null;
    if (on && this.pairs.length) {
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
  /** Draws the present frame everywhere. */
  draw() {
    for (const [canvas, row] of this.pairs) this.store.draw(canvas, row, this.frame);
    if (this.pairs.length) this.onframe();
  }
}
