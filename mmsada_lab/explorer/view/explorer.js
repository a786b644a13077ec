// One explorer: its state, how the parts hang together, and the entry for page and notebook.

const TRAVEL = 600; // milliseconds that points travel between two views
const PAUSE = 900; // milliseconds that a tour stays at a view
const REST = 150; // milliseconds without movement after which edges become smooth
const RANKS = { over: 0, soft: 1, moving: 2 };
let explorers = 0;

/** Everything that one explorer knows and does; what `derive` works out is kept here as well. */
class Explorer {
  constructor(model, el) {
    const scene = openScene(model.get("scene"));
    const store = new ClipStore(model, scene.clips, scene.N);
    const hidden = { domain: new Set(), class: new Set(), colour: new Set() };
    Object.assign(this, { model, scene, store, number: ++explorers, due: new Map(), trip: null, tour: null });
    this.motion = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.openCell = this.openCell.bind(this);
    this.state = {
      series: 0, view: 0, colour: "domain", tool: "pan", tab: "map", stream: 0, pinned: -1, selected: null, hidden,
      domain: -1, against: null, cell: null, within: true, sweep: 0, sweepAt: 0,
    };
    this.atlas = this.makeAtlas();
    this.panels = scene.panels.map((_, p) => new MapPanel(this.atlas, p));
    this.build(el);
    this.listen();
    this.takeTheme();
  }
  /** Whether nothing is to move by itself. */
  get still() {
    return this.motion.matches;
  }
  /** Name of the domains that the confusion counts. */
  get domainTitle() {
    return this.scene.domains[this.state.domain]?.name ?? "both domains";
  }
  /** What all maps share: positions, marks, who is pinned, and what a map may ask for. */
  makeAtlas() {
    const { scene, scene: { N, P } } = this;
    const size = N <= 1500 ? { radius: 4.5, opacity: 0.95 } : N <= 8000 ? { radius: 3.5, opacity: 0.8 } : { radius: 2.5, opacity: 0.6 };
    return {
      scene, ...size, rim: N <= 5000 ? 1 : 0, order: shuffledOrder(N), kinds: Array.from({ length: P }, () => new Int16Array(N)),
      positions: Float32Array.from(decode(viewAt(scene, [0, 0]).positions)), looks: [], dimFrom: 0, pinned: -1, hovered: -1,
      neighbours: [], corner: null, keysId: `mmsada-keys-${this.number}`, tool: () => this.state.tool,
      hover: (p, n) => this.hover(p, n), pin: (n) => this.pin(n), select: (rows) => this.select(rows),
      toggle: (n) => this.toggle(n), request: (panel, what) => this.request(panel, what),
    };
  }
  /** Builds the page's parts. */
  build(el) {
    const { scene, atlas, panels } = this;
    this.card = makeHoverCard(this);
    this.pinnedCard = makePinned(this);
    this.confusionTab = makeConfusion(this);
    const side = [this.pinnedCard, makeNumbers(this), makeHistogram(this), makeSmallConfusion(this), makeGap(this)];
    const [bar, tools] = [makeBar(this), makeTools(this)];
    const tabs = { map: makeLegend(this), confusion: this.confusionTab, ...(scene.sweeps.length ? { sweep: makeSweep(this) } : {}) };
    this.parts = [bar, tools, ...Object.values(tabs), ...side];
    this.panes = Object.entries(tabs).map(([key, { element }]) => h("div", { class: `pane ${key}`, "data-tab": key }, element));
    this.tabs = Object.keys(tabs).map((tab) => button(`${tab[0].toUpperCase()}${tab.slice(1)}`, () => this.openTab(tab), { "data-tab": tab }));
    const notes = scene.notes ?? [];
    this.root = h("section", { class: "mmsada-explorer", "aria-label": scene.title, onkeydown: (event) => this.escape(event) },
      h("header", {}, h("h2", {}, scene.title), h("nav", { class: "tabs", "aria-label": "What to look at" }, this.tabs),
        help("Notes on the data", notes, `${notes.length} ${notes.length === 1 ? "note" : "notes"}`)),
      bar.element, h("div", { class: "body" },
        h("div", {}, h("div", { class: "stage" }, tools.element, h("div", { class: "maps" }, panels.map(({ element }) => element))), this.panes),
        h("aside", { "aria-label": "Details" }, side.map(({ element }) => element))),
      this.card.element, this.card.live, h("p", { class: "unseen", id: atlas.keysId }, MAP_HELP.at(-1)));
    el.replaceChildren(this.root);
  }
  /** Takes over what the model says, and listens to it and to the theme of the page. */
  listen() {
    const { model, scene, state } = this;
    const events = {
      "change:pinned": () => this.pin(scene.rowOf.get(model.get("pinned")) ?? -1),
      "change:view": () => { const place = findView(scene, model.get("view")); if (place) this.goTo(...place); },
    };
    const [series, view] = findView(scene, model.get("view")) ?? [0, 0];
    const rows = (model.get("selected") ?? []).map((uid) => scene.rowOf.get(uid)).filter((n) => n !== undefined);
    Object.assign(state, { series, view, pinned: scene.rowOf.get(model.get("pinned")) ?? -1, selected: rows.length ? new Set(rows) : null });
    this.atlas.positions.set(decode(viewAt(scene, [series, view]).positions));
    for (const [event, action] of Object.entries(events)) model.on(event, action);
    const theme = () => this.takeTheme();
    const scheme = window.matchMedia("(prefers-color-scheme: dark)");
    const watcher = new MutationObserver(theme);
    watcher.observe(document.body, { attributes: true });
    scheme.addEventListener("change", theme);
    this.unlisten = () => {
      watcher.disconnect();
      scheme.removeEventListener("change", theme);
      for (const [event, action] of Object.entries(events)) model.off(event, action);
    };
  }
  /** Tells the model what changed here. */
  publish(name, value) {
    if (JSON.stringify(this.model.get(name)) === JSON.stringify(value)) return;
    this.model.set(name, value);
    this.model.save_changes();
  }
  /** Takes the colours of the page around it. */
  takeTheme() {
    const style = getComputedStyle(this.root);
    const context = this.panels[0].context;
    const hex = (colour) => { context.fillStyle = colour; return context.fillStyle; };
    this.palette = makePalette(hex(style.backgroundColor), hex(style.color));
    this.atlas.palette = this.palette;
    this.root.classList.toggle("dark", this.palette.dark);
    this.openTab(this.state.tab);
  }
  /** Changes what is shown. */
  set(changes) {
    if (changes.colour || "stream" in changes) this.state.hidden.colour.clear();
    Object.assign(this.state, changes);
    this.refresh();
  }
  /** Opens a tab; that of a sweep takes the map along. */
  openTab(tab) {
    this.state.tab = tab;
    this.root.dataset.tab = tab;
    for (const each of this.tabs) each.setAttribute("aria-pressed", each.dataset.tab === tab);
    for (const pane of this.panes) pane.hidden = pane.dataset.tab !== tab;
    if (tab === "sweep") this.sweepTo(this.state.sweepAt);
    else this.refresh();
  }
  /** Goes to a view; within a series its points travel there. */
  goTo(series, view) {
    const { state, scene, atlas: { positions } } = this;
    if (series === state.series && view === state.view) return;
    const travels = series === state.series && !this.still;
    Object.assign(state, { series, view });
    const { key } = scene.series[series];
    const sweep = scene.sweeps.findIndex((each) => each.series === key);
    const at = scene.sweeps[sweep]?.values.indexOf(viewAt(scene, [series, view]).value) ?? -1;
    if (at >= 0) Object.assign(state, { sweep, sweepAt: at });
    const to = decode(viewAt(scene, [series, view]).positions);
    this.trip = travels ? { from: positions.slice(), to, began: performance.now() } : null;
    if (travels) this.advance(this.trip);
    else positions.set(to);
    this.publish("view", `${key}/${viewAt(scene, [series, view]).key}`);
    this.refresh();
  }
  /** One step of the points' journey to a new view. */
  advance(trip) {
    if (this.trip !== trip) return;
    const { positions } = this.atlas;
    const t = Math.min(1, (performance.now() - trip.began) / TRAVEL);
    const share = ease(t);
    for (let k = 0; k < positions.length; k++) positions[k] = trip.from[k] + (trip.to[k] - trip.from[k]) * share;
    this.requestAll("moving");
    if (t < 1) requestAnimationFrame(() => this.advance(trip));
    else this.trip = null;
  }
  /** The view of the map that belongs to the present value of the sweep, as [series, view]; null if there is none. */
  sweepView() {
    const { series, values } = this.scene.sweeps[this.state.sweep];
    const s = this.scene.series.findIndex(({ key }) => key === series);
    const v = s < 0 ? -1 : this.scene.series[s].views.findIndex(({ value }) => value === values[this.state.sweepAt]);
    return v < 0 ? null : [s, v];
  }
  /** Goes to a value of the sweep, and the map with it where there is one. */
  sweepTo(at) {
    this.state.sweepAt = at;
    const place = this.sweepView();
    if (place) this.goTo(...place);
    this.refresh();
  }
  /** Plays through the views of the series, from the first one if it stands at the last. */
  beginTour() {
    const { state } = this;
    const last = this.scene.series[state.series].views.length - 1;
    const next = () => {
      if (state.view === last) return this.endTour();
      this.tour = setTimeout(next, TRAVEL + PAUSE);
      return this.goTo(state.series, state.view + 1);
    };
    this.tour = setTimeout(next, PAUSE / 2);
    if (state.view === last) this.goTo(state.series, 0);
    this.refresh();
  }
  /** Stops there. */
  endTour() {
    clearTimeout(this.tour);
    this.tour = null;
    this.refresh();
  }
  /** Works out everything that follows from the state, and shows it. */
  refresh() {
    const { scene, state, atlas } = this;
    Object.assign(this, derive(scene, state, this.palette));
    const { scheme, codes, rows, view } = this;
    const colours = [...scheme.entries.map(({ colour }) => colour), this.palette.dim];
    const isDiamond = scene.domains.map((domain) => Number(shapeOf(domain) === "diamond"));
    const looks = colours.flatMap((colour) => ["disc", "diamond"].map((shape) => ({ shape, colour })));
    Object.assign(atlas, { looks, dimFrom: 2 * scheme.entries.length, neighbours: this.neighbours, pinned: state.pinned });
    atlas.kinds.forEach((kinds, p) => {
      kinds.fill(-1);
      for (const n of rows) {
        const code = state.selected && !state.selected.has(n) ? scheme.entries.length : codes[p][n];
        kinds[n] = 2 * code + isDiamond[scene.domain[n]];
      }
    });
    this.panels.forEach((panel, p) => {
      const { key, title } = scene.panels[p];
      const words = [Number.isFinite(view.travel?.[key]) && `travel ${view.travel[key].toFixed(2)}`,
        Number.isFinite(view.overlap?.[key]) && `overlap ${percent(view.overlap[key])}`];
      panel.caption.replaceChildren(h("b", {}, title), h("span", { class: "faint" }, words.filter(Boolean).join(" · ")));
      panel.grid = null;
    });
    for (const part of this.parts) part.update();
    this.requestAll("soft");
  }
  /** Shows or hides an entry of the legend, or (alone) it only; null shows all. */
  filter(key, code, alone) {
    const off = this.state.hidden[key];
    const { entries } = this.legend.find((group) => group.key === key);
    if (code === null) off.clear();
    else if (alone) for (const entry of entries) off[entry.code === code ? "delete" : "add"](entry.code);
    else if (!off.delete(code)) off.add(code);
    this.refresh();
  }
  /** A point comes under the mouse or the cursor of panel p; -1 for none. */
  hover(p, n) {
    if (n === this.atlas.hovered) return;
    this.atlas.hovered = n;
    this.card.show(n, n < 0 ? null : this.locate(n, p));
    this.requestAll("over");
  }
  /** Pins a clip; -1 lets go of it. */
  pin(n) {
    if (n === this.state.pinned) return;
    this.state.pinned = this.atlas.pinned = n;
    this.neighbours = this.atlas.neighbours = neighboursOf(this.scene, this.state, this.view, n);
    this.pinnedCard.update();
    this.requestAll("over");
    this.publish("pinned", n < 0 ? "" : this.scene.uids[n]);
  }
  /** Selects these rows; none clears the selection. */
  select(rows) {
    this.state.selected = rows.length ? new Set(rows) : null;
    this.publish("selected", rows.map((n) => this.scene.uids[n]));
    this.refresh();
    this.card.live.textContent = `${rows.length} clips selected`;
  }
  /** Adds a clip to the selection, or takes it out. */
  toggle(n) {
    const rows = new Set(this.state.selected ?? []);
    if (!rows.delete(n)) rows.add(n);
    this.select([...rows]);
  }
  /** Opens the clips behind a cell of the confusion. */
  openCell(label, predicted) {
    this.state.cell = [label, predicted];
    this.openTab("confusion");
  }
  /** Counted clips of the open cell. */
  cellRows() {
    const { scene, state: { cell, stream }, view } = this;
    if (!cell) return [];
    const predicted = ofStream(scene, view.predicted, stream);
    return this.counted.filter((n) => scene.label[n] === cell[0] && Math.min(predicted[n], scene.K) === cell[1]);
  }
  /** Escape: forgets a corner of a box, or lets go of the pinned clip and returns to the map. */
  escape({ key }) {
    if (key !== "Escape") return;
    const inside = this.pinnedCard.element.contains(document.activeElement);
    if (this.atlas.corner) this.atlas.corner = null;
    else this.pin(-1);
    if (inside) this.panels[this.state.stream].canvas.focus();
    this.requestAll("over");
  }
  /** Asks for a drawing in the next frame: "over" the points only, all "soft" at rest, or "moving". */
  request(panel, what) {
    if (!(RANKS[this.due.get(panel)] >= RANKS[what])) this.due.set(panel, what);
    this.nextFrame ??= requestAnimationFrame(() => this.paint());
  }
  /** The same of all maps. */
  requestAll(what) {
    for (const panel of this.panels) this.request(panel, what);
  }
  /** Draws what is due; of soft maps one a frame, so that the page goes on answering. */
  paint() {
    const due = [...this.due];
    const [firstSoft] = due.find(([, what]) => what === "soft") ?? [];
    Object.assign(this, { nextFrame: null, due: new Map() });
    for (const [panel, what] of due) {
      if (what === "over") panel.drawOver();
      else if (what === "moving" || panel === firstSoft) panel.draw(what === "moving");
      else this.request(panel, what);
    }
    if (!due.some(([, what]) => what === "moving")) return;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.requestAll("soft"), REST);
  }
  /** Where a clip lies in a panel, in pixels of the window. */
  locate(n, p) {
    const { canvas, xs, ys } = this.panels[p];
    this.panels[p].project();
    const { left, top } = canvas.getBoundingClientRect();
    return { x: left + xs[n], y: top + ys[n] };
  }
  /** A plain picture of the state, for tests and for the curious. */
  picture() {
    const { scene, state, view, confusion, neighbours, atlas, pinnedCard: { player } } = this;
    const uid = (n) => scene.uids[n] ?? "";
    const stream = scene.panels[state.stream].key;
    const against = state.against && `${scene.series[state.against[0]].key}/${viewAt(scene, state.against).key}`;
    return {
      series: scene.series[state.series].key, view: view.key, colour: state.colour, stream, tool: state.tool, tab: state.tab,
      pinned: uid(state.pinned), hovered: uid(atlas.hovered), selected: [...(state.selected ?? [])].map(uid), shown: this.rows.length,
      legend: this.legend.flatMap(({ title, entries }) => entries.map(({ label, count, on }) => ({ group: title, label, count, on }))),
      confusion: { matrix: confusion.counts, other: confusion.other, stream, domain: this.domainTitle, view: view.key, against },
      histogram: Object.fromEntries(scene.domains.map(({ name }, d) => [name, this.histogram[d]])), numbers: this.numbers,
      sweepValue: scene.sweeps[state.sweep]?.values[state.sweepAt] ?? null, gallery: this.confusionTab.gallery.sorted().map(uid),
      neighbours: neighbours.map(uid), playing: player.timer !== null, moving: this.trip !== null, touring: this.tour !== null,
      frame: Object.fromEntries(player.pairs.map(([{ dataset }]) => [dataset.modality, dataset.frame === "" ? null : Number(dataset.frame)])),
      dark: this.palette.dark,
    };
  }
  /** Draws all maps now; returns how many milliseconds it took. */
  frame(moving = false) {
    const began = performance.now();
    for (const panel of this.panels) panel.draw(moving);
    return performance.now() - began;
  }
  /** Ends everything. */
  remove() {
    const { gallery } = this.confusionTab;
    this.unlisten();
    clearTimeout(this.resting);
    clearTimeout(this.tour);
    clearTimeout(this.store.timer);
    cancelAnimationFrame(this.nextFrame);
    this.trip = null;
    for (const { player } of [this.card, this.pinnedCard, gallery]) player.show([], false);
    for (const panel of this.panels) panel.observer.disconnect();
    this.model.off("msg:custom", this.store.receive);
    this.root.remove();
  }
}

/** Shows the scene of a model inside an element; returns a function that ends it. */
function render({ model, el }) {
  const explorer = new Explorer(model, el);
  const handle = {
    state: () => explorer.picture(), locate: (n, panel) => explorer.locate(n, panel), frame: (moving) => explorer.frame(moving),
  };
  (window.__explorers ??= []).push(handle);
  return () => {
    explorer.remove();
    window.__explorers.splice(window.__explorers.indexOf(handle), 1);
  };
}

export default { render };
