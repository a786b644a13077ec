// One explorer: its state, how the parts hang together, and the entry for page and notebook.
const [TRAVEL, PAUSE, REST] = [600, 900, 150]; // ms: points travel, a tour stays at a view, until edges become smooth
const RANKS = { over: 0, soft: 1, moving: 2 };
let explorers = 0; // so far, for ids

/** Everything that one explorer knows and does; what `derive` works out is kept here as well. */
class Explorer {
  constructor(model, el) {
    const scene = openScene(model.get("scene"));
    const store = new ClipStore(model, scene.clips, scene.N);
    for (const name of ["pin", "select", "openCell", "takeTheme", "takeSelection"]) this[name] = this[name].bind(this);
    Object.assign(this, { model, scene, store, number: ++explorers, due: new Map(), trip: null, tour: null });
    this.motion = window.matchMedia("(prefers-reduced-motion: reduce)");
    const [series, view] = findView(scene, model.get("view")) ?? [0, 0];
    this.state = {
      series, view, colour: "domain", tool: "pan", tab: "map", stream: 0, selected: null, domain: -1, against: null,
      pinned: scene.rowOf.get(model.get("pinned")) ?? -1, cell: null, within: true, sweep: 0, sweepAt: 0,
      hidden: { domain: new Set(), class: new Set(), colour: new Set() },
    };
    this.atlas = this.makeAtlas();
    this.panels = scene.panels.map((_, p) => new MapPanel(this.atlas, p));
    this.build(el);
    this.unlisten = this.listen();
    this.takeTheme();
    this.takeSelection();
  }
  get still() { return this.motion.matches; } // whether nothing is to move by itself
  get domainTitle() { return this.scene.domains[this.state.domain]?.name ?? "both domains"; } // of the confusion
  makeAtlas() { // what all maps share: positions, marks, who is pinned, and what a map may ask for
    const { scene, state, pin, select, takeTheme, scene: { N, P } } = this;
    const [radius, opacity] = N <= 1500 ? [4.5, 0.95] : N <= 8000 ? [3.5, 0.8] : [2.5, 0.6];
    return {
      scene, radius, opacity, rim: N <= 5000 ? 1 : 0, order: mixedOrder(N), pinned: -1, hovered: -1,
      positions: Float32Array.from(decode(viewAt(scene, [state.series, state.view]).positions)), neighbours: [],
      kinds: Array.from({ length: P }, () => new Int16Array(N)), keysId: `mmsada-keys-${this.number}`, pin, select,
      takeTheme, tool: () => state.tool, hover: (p, n) => this.hover(p, n), request: (...what) => this.request(...what),
      toggle: (n, had = [...state.selected ?? []]) =>
        select(had.includes(n) ? had.filter((m) => m !== n) : [...had, n]),
    };
  }
  build(el) { // builds the page's parts
    const { scene: { title, notes = [], sweeps }, panels } = this;
    this.card = makeHoverCard(this);
    this.pinnedCard = makePinned(this);
    this.confusionTab = makeConfusion(this);
    const side = [this.pinnedCard, makeNumbers(this), makeHistogram(this), makeSmallConfusion(this)];
    const [bar, tools] = [makeBar(this), makeTools(this)];
    const tabs = { Map: makeLegend(this), Confusion: this.confusionTab };
    if (sweeps.length) tabs.Sweep = makeSweep(this);
    const keys = Object.keys(tabs).map((name) => [name, name.toLowerCase()]);
    this.parts = [bar, tools, ...Object.values(tabs), ...side];
    this.panes = keys.map(([name, key]) => h("div", { class: `pane ${key}`, "data-tab": key }, tabs[name].element));
    this.tabs = keys.map(([name, key]) => button(name, () => this.openTab(key), { "data-tab": key }));
    const maps = h("div", { class: "maps" }, panels.map(({ element }) => element));
    const count = `${notes.length} ${notes.length === 1 ? "note" : "notes"} on the data`;
    const look = { class: "mmsada-explorer", "aria-label": title, onkeydown: (event) => this.escape(event) };
    this.root = h("section", look,
      h("header", {}, h("h2", {}, title), h("nav", { class: "tabs", "aria-label": "What to look at" }, this.tabs),
        notes.length > 0 && help(count, notes, count)),
      bar.element,
      h("div", { class: "body" }, h("div", {}, h("div", { class: "stage" }, tools.element, maps), this.panes),
        h("aside", { "aria-label": "Details" }, side.map(({ element }) => element))),
      this.card.element, this.card.live, h("p", { class: "unseen", id: this.atlas.keysId }, KEYS_HELP));
    el.replaceChildren(this.root);
  }
  listen() { // listens to the model and to the theme of the page; returns how to end that
    const { model, scene, state, store, takeTheme: onTheme } = this;
    const events = {
      "change:pinned": () => this.pin(scene.rowOf.get(model.get("pinned")) ?? -1), "msg:custom": store.receive,
      "change:selected": this.takeSelection,
      "change:view": () => this.goTo(...findView(scene, model.get("view")) ?? [state.series, state.view]),
    };
    const watcher = new MutationObserver(onTheme);
    const scheme = window.matchMedia("(prefers-color-scheme: dark)");
    watcher.observe(document.body, { attributes: true });
    scheme.addEventListener("change", onTheme);
    for (const [event, action] of Object.entries(events)) model.on(event, action);
    return () => {
      watcher.disconnect();
      scheme.removeEventListener("change", onTheme);
      for (const [event, action] of Object.entries(events)) model.off(event, action);
    };
  }
  publish(name, value) { // tells the model what changed here
    if (JSON.stringify(this.model.get(name)) === JSON.stringify(value)) return;
    this.model.set(name, value);
    this.model.save_changes();
  }
  takeTheme() { // takes the colours of the page around it
    const { color, backgroundColor } = getComputedStyle(this.root);
    const hex = (fillStyle) => Object.assign(this.panels[0].context, { fillStyle }).fillStyle;
    const [ground, ink] = [hex(backgroundColor), hex(color)];
    if (this.palette?.ground === ground && this.palette.ink === ink) return;
    this.palette = this.atlas.palette = makePalette(ground, ink, this.scene.colours);
    this.root.classList.toggle("dark", this.palette.dark);
    this.openTab(this.state.tab);
  }
  set(changes) { // changes what is shown
    if ("colour" in changes || "stream" in changes) this.state.hidden.colour.clear();
    Object.assign(this.state, changes);
    this.refresh();
  }
  openTab(tab) { // opens a tab; that of a sweep takes the map along
    this.state.tab = this.root.dataset.tab = tab;
    for (const each of this.tabs) each.setAttribute("aria-pressed", each.dataset.tab === tab);
    for (const pane of this.panes) pane.hidden = pane.dataset.tab !== tab;
    if (tab === "sweep") this.sweepTo(this.state.sweepAt);
    else this.refresh();
  }
  goTo(series, view) { // goes to a view; within a series its points travel there
    const { state, scene, atlas: { positions } } = this;
    if (series === state.series && view === state.view) return;
    const travels = series === state.series && !this.still;
    const { key, value, positions: to } = viewAt(scene, [series, view]);
    Object.assign(state, { series, view });
    const sweep = scene.sweeps.findIndex((each) => each.series === scene.series[series].key);
    const sweepAt = scene.sweeps[sweep]?.values.indexOf(value) ?? -1;
    if (sweepAt >= 0) Object.assign(state, { sweep, sweepAt });
    this.trip = travels ? { from: positions.slice(), to: decode(to), began: performance.now() } : null;
    if (travels) this.advance(this.trip);
    else positions.set(decode(to));
    this.publish("view", `${scene.series[series].key}/${key}`);
    this.refresh();
  }
  advance(trip) { // one step of the points' journey to a new view
    if (this.trip !== trip) return;
    const { positions } = this.atlas;
    const t = Math.min(1, (performance.now() - trip.began) / TRAVEL);
    const share = ease(t);
    for (let k = 0; k < positions.length; k++) positions[k] = trip.from[k] + (trip.to[k] - trip.from[k]) * share;
    this.requestAll("moving");
    if (t < 1) requestAnimationFrame(() => this.advance(trip));
    else this.trip = null;
  }
  sweepView() { // the view that belongs to the value of the sweep, as [series, view]; null if there is none
    const { series, values } = this.scene.sweeps[this.state.sweep];
    const s = this.scene.series.findIndex(({ key }) => key === series);
    const v = this.scene.series[s]?.views.findIndex(({ value }) => value === values[this.state.sweepAt]) ?? -1;
    return v < 0 ? null : [s, v];
  }
  sweepTo(at) { // goes to a value of the sweep, and the map with it where there is one
    const { state } = this;
    state.sweepAt = at;
    const [series, view] = this.sweepView() ?? [state.series, state.view];
    if (series === state.series && view === state.view) this.refresh();
    else this.goTo(series, view);
  }
  playViews(on) { // begins to play through the views (from the first one if it stands at the last), or stops
    const { state, scene } = this;
    const last = scene.series[state.series].views.length - 1;
    const next = () => {
      if (state.view === last) return this.playViews(false);
      this.tour = setTimeout(next, TRAVEL + PAUSE);
      return this.goTo(state.series, state.view + 1);
    };
    if (!on && this.tour === null) return;
    clearTimeout(this.tour);
    this.tour = on ? setTimeout(next, PAUSE / 2) : null;
    if (on && state.view === last) this.goTo(state.series, 0);
    this.refresh();
  }
  refresh() { // works out everything that follows from the state, and shows it
    const { scene, state, atlas } = this;
    Object.assign(this, derive(scene, state, this.palette));
    const { scheme: { entries }, codes, rows, view, neighbours } = this;
    const colours = [...entries.map(({ colour }) => colour), this.palette.dim];
    const looks = colours.flatMap((colour) => ["disc", "diamond"].map((shape) => ({ shape, colour })));
    const isDiamond = scene.domains.map((domain) => Number(shapeOf(domain) === "diamond"));
    Object.assign(atlas, { looks, dimFrom: 2 * entries.length, neighbours, pinned: state.pinned });
    this.panels.forEach((panel, p) => {
      const kinds = atlas.kinds[p].fill(-1);
      for (const n of rows) {
        const code = state.selected && !state.selected.has(n) ? entries.length : codes[p][n];
        kinds[n] = 2 * code + isDiamond[scene.domain[n]];
      }
      const { key, title } = scene.panels[p];
      const words = [view.travel?.[key] >= 0 && `travel ${view.travel[key].toFixed(2)}`,
        view.overlap?.[key] >= 0 && `overlap ${percent(view.overlap[key])}`];
      refill(panel.caption, h("b", {}, title), h("span", { class: "faint" }, words.filter(Boolean).join(" · ")));
      panel.grid = null;
    });
    for (const part of this.parts) part.update();
    this.requestAll("soft");
  }
  filter(key, code, isAlone) { // shows or hides an entry of the legend, or (alone) it only; null shows all
    const off = this.state.hidden[key];
    const { entries } = this.legend.find((group) => group.key === key);
    if (code === null) off.clear();
    else if (isAlone) for (const entry of entries) off[entry.code === code ? "delete" : "add"](entry.code);
    else if (!off.delete(code)) off.add(code);
    this.refresh();
  }
  hover(p, n) { // a point comes under the mouse or the cursor of panel p; -1 for none
    if (n === this.atlas.hovered) return;
    this.atlas.hovered = n;
    this.card.show(n, n < 0 ? null : this.locate(n, p));
    this.requestAll("over");
  }
  pin(n) { // pins a clip; -1 lets go of it
    if (n === this.state.pinned) return;
    this.state.pinned = this.atlas.pinned = n;
    this.neighbours = this.atlas.neighbours = neighboursOf(this.scene, this.state, this.view, n);
    this.pinnedCard.update();
    this.requestAll("over");
    this.publish("pinned", this.scene.uids[n] ?? "");
  }
  takeSelection() { this.select(this.model.get("selected").flatMap((uid) => this.scene.rowOf.get(uid) ?? [])); }
  select(rows) { // selects these rows; none clears the selection
    if (`${rows}` === `${[...this.state.selected ?? []]}`) return;
    this.state.selected = rows.length ? new Set(rows) : null;
    this.publish("selected", rows.map((n) => this.scene.uids[n]));
    this.refresh();
    this.card.live.textContent = `${rows.length} clips selected`;
  }
  openCell(label, predicted) { // opens the clips behind a cell of the confusion
    this.state.cell = [label, predicted];
    this.openTab("confusion");
  }
  escape(event) { // escape lets go of the pinned clip and returns from there to the map
    const { key, ctrlKey, metaKey, altKey } = event;
    if (!ctrlKey && !metaKey && !altKey) event.stopPropagation(); // or B on a map gives JupyterLab's notebook a cell
    if (key !== "Escape") return;
    if (this.pinnedCard.element.contains(document.activeElement)) this.panels[this.state.stream].canvas.focus();
    this.pin(-1);
  }
  request(panel, what) { // asks for a drawing: "over" the points only, all "soft" at rest, or "moving"
    if (!(RANKS[this.due.get(panel)] >= RANKS[what])) this.due.set(panel, what);
    this.nextFrame ??= requestAnimationFrame(() => this.paint());
  }
  requestAll(what) { for (const panel of this.panels) this.request(panel, what); } // the same of all maps
  paint() { // draws what is due; of soft maps one a frame, so that the page goes on answering
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
  locate(n, p) { // where a clip lies in a panel, in pixels of the window
    const { canvas, xs, ys } = this.panels[p];
    this.panels[p].project();
    const { left, top } = canvas.getBoundingClientRect();
    return { x: left + xs[n], y: top + ys[n] };
  }
  picture() { // a plain picture of the state, for tests and for the curious
    const { scene, state, view, confusion: { counts, other }, atlas, numbers, pinnedCard: { player } } = this;
    const uid = (n) => scene.uids[n] ?? "";
    const { colour, tool, tab } = state;
    const stream = scene.panels[state.stream].key;
    const against = state.against && `${scene.series[state.against[0]].key}/${viewAt(scene, state.against).key}`;
    return {
      series: scene.series[state.series].key, view: view.key, colour, stream, tool, tab, numbers,
      selected: [...state.selected ?? []].map(uid), shown: this.rows.length,
      pinned: uid(state.pinned), hovered: uid(atlas.hovered),
      legend: this.legend.flatMap(({ title: group, entries }) => entries.map((entry) => ({ group, ...entry }))),
      confusion: { matrix: counts, other, stream, domain: this.domainTitle, view: view.key, against },
      histogram: Object.fromEntries(scene.domains.map(({ name }, d) => [name, this.histogram[d]])),
      sweepValue: scene.sweeps[state.sweep]?.values[state.sweepAt] ?? null, neighbours: this.neighbours.map(uid),
      gallery: this.confusionTab.gallery.sorted().map(uid), playing: player.timer !== null, moving: this.trip !== null,
      frame: Object.fromEntries(player.pairs.map(([{ dataset }]) => [dataset.modality, Number(dataset.frame || NaN)])),
      touring: this.tour !== null, dark: this.palette.dark,
    };
  }
  frame(moving = false) { // draws all maps now; returns how many milliseconds it took
    const began = performance.now();
    for (const panel of this.panels) panel.draw(moving);
    return performance.now() - began;
  }
  remove() { // ends everything
    for (const timer of [this.resting, this.tour, this.store.timer]) clearTimeout(timer);
    for (const { player } of [this.card, this.pinnedCard, this.confusionTab.gallery]) player.show([], false);
    for (const panel of this.panels) panel.observer.disconnect();
    cancelAnimationFrame(this.nextFrame);
    this.trip = null;
    this.unlisten();
    this.root.remove();
  }
}

function render({ model, el }) { // shows the scene of a model, and any that follows; returns a function that ends it
  let explorer = new Explorer(model, el);
  const renew = () => { explorer.remove(); explorer = new Explorer(model, el); };
  const [state, locate] = [() => explorer.picture(), (n, panel) => explorer.locate(n, panel)];
  const handle = { state, locate, frame: (moving) => explorer.frame(moving) };
  (window.__explorers ??= []).push(handle);
  model.on("change:scene", renew);
  return () => {
    model.off("change:scene", renew);
    explorer.remove();
    window.__explorers.splice(window.__explorers.indexOf(handle), 1);
  };
}

export default { render };
