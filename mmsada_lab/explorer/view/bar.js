// The bar above everything (series, view, colours, stream, search) and the tools of the map.
const KEYS_HELP = `On a map, arrow keys move a cursor from clip to clip, Enter pins the clip, Space selects it, A
  selects all that is in view; plus, minus and 0 zoom; Escape closes the pinned clip.`;
const MAP_HELP = [`Each map is one stream, each mark a clip: discs of the source, diamonds of the target. Travel: how
  far points moved from the view before, on average, in radii of the map; little means that features hardly changed.`,
`Overlap: of the 10 nearest clips in feature space, the share that is also nearest in the map. The lower it is, the less
  the map is to be trusted.`, `Drag to pan, turn the wheel to zoom, hold Shift to draw a lasso. ${KEYS_HELP}`];

function matchingUids(scene, text) { // the first uids that contain a text
  const part = text.trim().toLowerCase();
  return part ? scene.uids.filter((uid) => uid.toLowerCase().includes(part)).slice(0, 20) : [];
}
function makeSearch({ scene, number, pin }) { // a search field with suggestions, which pins the clip
  const matches = h("datalist", { id: `mmsada-uids-${number}` });
  const option = (value) => h("option", { value });
  const suggest = () => matches.replaceChildren(...matchingUids(scene, field.value).map(option));
  const find = () => {
    const text = field.value.trim();
    const n = scene.rowOf.get(text) ?? scene.rowOf.get(matchingUids(scene, text)[0]);
    field.setCustomValidity(text && n === undefined ? "no uid contains this" : "");
    if (field.reportValidity() && n !== undefined) pin(n);
  };
  const field = h("input", { type: "search", list: matches.id, placeholder: "uid", oninput: suggest, onchange: find });
  return h("label", { class: "field" }, h("span", {}, "Find"), field, matches);
}
function makeBar(explorer) { // the bar
  const { scene, state } = explorer;
  const all = scene.series.map(({ title }, s) => [s, title]);
  const series = choice("Series", all, 0, (s) => explorer.goTo(Number(s), 0));
  const slide = () => { const to = Number(slider.value); explorer.playViews(false); explorer.goTo(state.series, to); };
  const slider = h("input", { type: "range", min: 0, "aria-label": "View", oninput: slide });
  const play = button("", () => explorer.playViews(explorer.tour === null), { class: "wide" });
  const name = h("output", { class: "value" });
  const ways = Object.entries(COLOURINGS).map(([key, title]) => [key, title, key === "flipped" && !referenceOf(scene)]);
  const titles = scene.panels.map(({ title }, p) => [p, title]);
  const streams = choice("Stream", titles, 0, (p) => explorer.set({ stream: Number(p) }));
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
    const count = ` ${state.view + 1} of ${length} `;
    name.replaceChildren(h("b", {}, view.title), count, h("span", { class: "faint" }, view.note ?? ""));
  };
  return { element, update };
}
function makeTools(explorer) { // tools of the map: what dragging does, zoom, clearing, help
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
  const update = () => tools.forEach((tool) => tool.setAttribute("aria-pressed", tool.dataset.tool === state.tool));
  return { element, update };
}
