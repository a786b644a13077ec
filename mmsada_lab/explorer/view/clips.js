// Clips: strips of frames that come in pieces, are decoded when they are looked at, and play in step.
const KEPT_STRIPS = 400; // decoded strips kept at hand

/** Strips of all clips: asks the model for pieces, one at a time, those that somebody looks at first. */
class ClipStore {
  constructor(model, clips, count) {
    this.modalities = Object.keys(clips?.modalities ?? {});
    const bytes = Object.fromEntries(this.modalities.map((key) => [key, new Array(count)]));
    Object.assign(this, { model, clips, count, bytes, missing: 0, asked: new Set(), strips: new Map(), watchers: [] });
    this.receive = this.receive.bind(this);
    if (clips) this.timer = setTimeout(() => this.ask(0), 400);
  }
  ask(piece) { // asks for a piece unless that was done
    const rows = [piece * this.clips.piece, Math.min(this.count, (piece + 1) * this.clips.piece)];
    if (this.asked.has(piece) || rows[0] >= this.count) return;
    this.asked.add(piece);
    this.missing += (rows[1] - rows[0]) * this.modalities.length;
    this.model.send({ kind: "clips", rows });
  }
  receive(content, buffers) { // takes an answer apart; asks for the next piece when none is on its way
    const held = content?.kind === "clips" && this.bytes[content.modality];
    if (!held) return;
    const all = bytesOfBuffer(buffers[0] ?? new ArrayBuffer(0));
    content.sizes.reduce((start, size, k) => {
      if (!held[content.rows[0] + k]) this.missing -= 1;
      held[content.rows[0] + k] = all.subarray(start, start + size);
      return start + size;
    }, 0);
    this.tell();
    let next = 0;
    while (this.asked.has(next)) next += 1;
    if (this.missing <= 0) this.timer = setTimeout(() => this.ask(next), 60);
  }
  tell() { for (const watcher of this.watchers) watcher(); } // tells all players that there is something new to draw
  strip(row, modality) { // what is known of a strip: its bitmap, or a word that says why there is none (yet)
    this.ask(Math.floor(row / this.clips.piece));
    const bytes = this.bytes[modality][row];
    if (!bytes?.length) return { word: bytes ? "no clip" : "loading" };
    if (this.strips.size > KEPT_STRIPS) this.strips.clear();
    const key = `${modality} ${row}`;
    if (!this.strips.has(key)) this.strips.set(key, this.load(bytes, this.clips.modalities[modality].type));
    return this.strips.get(key);
  }
  load(bytes, type) { // begins to decode a strip
    const strip = { word: "loading" };
    const take = (word, bitmap) => { Object.assign(strip, { word, bitmap }); this.tell(); };
    createImageBitmap(new Blob([bytes], { type }))
      .then((bitmap) => take("", bitmap), () => take(`${type.slice(6)} does not decode`));
    return strip;
  }
  screens(modalities = this.modalities) { // canvases of the size of a frame, one for each modality
    return modalities.map((modality) => {
      const { width, height } = this.clips.modalities[modality];
      return h("canvas", { class: "clip", width, height, role: "img", "data-modality": modality });
    });
  }
  framed(screens) { // the same with names beneath, or a word where there are no clips at all
    if (!this.clips) return h("p", { class: "faint" }, "no clips in this explorer");
    const framed = (screen) => h("figure", {}, screen, h("figcaption", {}, screen.dataset.modality));
    return h("div", { class: "screens" }, screens.map(framed));
  }
  draw(canvas, row, frame) { // draws a frame of a clip, or the word for why it cannot
    const { dataset, width, height } = canvas;
    const { bitmap, word } = this.strip(row, dataset.modality);
    const context = canvas.getContext("2d");
    canvas.setAttribute("aria-label", word ? `${dataset.modality}: ${word}` : dataset.modality);
    dataset.frame = bitmap ? frame : "";
    context.clearRect(0, 0, width, height);
    Object.assign(context, { fillStyle: getComputedStyle(canvas).color, font: "9px sans-serif", textAlign: "center" });
    if (!bitmap) return context.fillText(word, width / 2, height / 2 + 3, width - 4);
    const held = Math.max(1, Math.round(bitmap.width / width)); // a still holds one frame only
    const [size, shown] = [bitmap.width / held, Math.floor((frame * held) / this.clips.frames)];
    return context.drawImage(bitmap, shown * size, 0, size, bitmap.height, 0, 0, width, height);
  }
}

/** Plays clips on their canvases [[canvas, row], ...]: one frame number, hence all in step. */
class Player {
  constructor(store, onframe = () => {}) {
    Object.assign(this, { store, onframe, frame: 0, pairs: [], timer: null });
    store.watchers.push(() => this.draw());
  }
  show(pairs, playing) { // shows clips; they stand at their middle frame unless they are to play
    Object.assign(this, { pairs, frame: playing ? 0 : Math.floor((this.store.clips?.frames ?? 0) / 2) }).play(playing);
  }
  play(on) { // lets frames advance, or stops them
    const { rate, frames } = this.store.clips ?? {};
    clearInterval(this.timer);
    this.timer = on && this.pairs.length ? setInterval(() => this.seek((this.frame + 1) % frames), 1000 / rate) : null;
    this.draw();
  }
  seek(frame) { Object.assign(this, { frame }).draw(); } // goes to a frame
  draw() { // draws the present frame everywhere
    for (const [canvas, row] of this.pairs) this.store.draw(canvas, row, this.frame);
    if (this.pairs.length) this.onframe();
  }
}
