// The bar above everything (series, view, colours, stream, search) and the tools of the map.

const MAP_HELP = [
  "Each map is one stream; every mark is a clip: discs of the source, diamonds of the target. Near in the map means near "
    + "in feature space, mostly.",
  "Travel: how far points moved from the view before, on average, in radii of the map. Little travel: the features hardly "
    + "changed.",
  "Overlap: of the 10 nearest clips in feature space, the share that is also nearest in the map. 100 % would be a faithful "
    + "map; trust a map of low overlap less.",
  "Drag to pan, turn the wheel to zoom, hold Shift to draw a lasso. On a map, arrow keys move a cursor from clip to clip, "
    + "Enter pins the clip, Space selects it, B marks a corner of a box and, pressed again, selects the box; plus, minus "
    + "and 0 zoom; Escape closes the pinned clip.",
];

/** The first uids that contain a text. */
function matchingUids(scene, text) {
  const part = text.trim().toLowerCase();
  return part ? scene.uids.filter((uid) => uid.toLowerCase().includes(part)).slice(0, 20) : [];
}
/** A search field with suggestions, which pins the clip. */
function makeSearch(explorer) {
  const { scene } = explorer;
  const matches = h("datalist", { id: `mmsada-uids-${explorer.number}` });
  const suggest = () => matches.replaceChildren(...matchingUids(scene, search.value).map((value) => h("option", { value })));
  const find = () => {
    const uid = scene.rowOf.has(search.value.trim()) ? search.value.trim() : matchingUids(scene, search.value)[0];
    search.setCustomValidity(search.value.trim() && !uid ? "no uid contains this" : "");
    search.reportValidity();
    if (uid) explorer.pin(scene.rowOf.get(uid));
  };
  const search = h("input", {
    type: "search", list: matches.id, placeholder: "uid", autocomplete: "off", oninput: suggest, onchange: find,
  });
  return h("label", { class: "field" }, h("span", {}, "Find"), search, matches);
}
/** The bar. */
function makeBar(explorer) {
  const { scene, state } = explorer;
  const series = choice("Series", scene.series.map(({ title }, s) => [s, title]), 0, (s) => explorer.goTo(Number(s), 0));
  const slide = () => { explorer.endTour(); explorer.goTo(state.series, Number(slider.value)); };
  const slider = h("input", { type: "range", min: 0, "aria-label": "View", oninput: slide });
  const play = button("", () => (explorer.tour ? explorer.endTour() : explorer.beginTour()), { class: "wide" });
  const name = h("output", { class: "value" });
  const ways = Object.entries(COLOURINGS).map(([key, title]) => [key, title, key === "flipped" && !referenceOf(scene)]);
  const streams = choice("Stream", scene.panels.map(({ title }, p) => [p, title]), 0, (p) =>
    explorer.set({ stream: Number(p) }));
  const element = h("div", { class: "bar" }, series, play, slider, name,
    choice("Colour", ways, state.colour, (colour) => explorer.set({ colour })), streams, makeSearch(explorer));
  const update = () => {
    const { view, tour } = explorer;
    const { length } = scene.series[state.series].views;
    series.lastChild.value = state.series;
    slider.max = length - 1;
    slider.value = state.view;
    slider.disabled = play.disabled = length < 2;
    slider.setAttribute("aria-valuetext", view.title);
    play.textContent = tour ? "Stop" : "Play";
    play.setAttribute("aria-label", tour ? "Stop at this view" : "Play through the views");
    name.replaceChildren(h("b", {}, view.title), ` ${state.view + 1} of ${length} `, h("span", { class: "faint" }, view.note ?? ""));
  };
  return { element, update };
}
/** Tools of the map: what dragging does, zoom, clearing, help. */
function makeTools(explorer) {
  const { state, panels } = explorer;
  const each = (action) => () => panels.forEach(action);
  const tools = Object.entries({ pan: "Pan", lasso: "Lasso", box: "Box" }).map(([tool, title]) =>
    button(title, () => explorer.set({ tool }), { "data-tool": tool }));
  const element = h("div", { class: "tools" },
    h("div", { class: "joined", role: "group", "aria-label": "What dragging does" }, tools),
    h("div", { class: "joined", role: "group", "aria-label": "Zoom" },
      button("+", each((panel) => panel.zoom(1.3)), { "aria-label": "Zoom in" }),
      button("−", each((panel) => panel.zoom(1 / 1.3)), { "aria-label": "Zoom out" }),
      button("Reset", each((panel) => panel.reset()), { "aria-label": "Show the whole map" })),
    button("Clear selection", () => explorer.select([])), help("How to read and use the maps", MAP_HELP));
  const update = () => { for (const tool of tools) tool.setAttribute("aria-pressed", tool.dataset.tool === state.tool); };
  return { element, update };
}
