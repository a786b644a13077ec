// Legend with filters, the card at the mouse, and the side column: numbers and histogram.
function markIcon({ shape, colour }) { // a disc, a diamond or, without a domain, a dot
  const inner = shape === "diamond" ? svg("path", { d: "M6 0.5 11.5 6 6 11.5 0.5 6Z", fill: colour })
    : svg("circle", { cx: 6, cy: 6, r: shape ? 5 : 3.5, fill: colour });
  return svg("svg", { class: "mark", viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": true }, inner);
}
function makeLegend(explorer) { // legend: groups of buttons that show or hide the points of an entry
  const element = h("div", { class: "legend" });
  const chip = (key, { code, label, count, on, ...look }) => h("button", {
    type: "button", class: "chip", "aria-pressed": on, "data-key": `${key} ${code}`,
    title: "Show or hide; with Shift: this one alone", onclick: ({ shiftKey }) => explorer.filter(key, code, shiftKey),
  }, markIcon(look), label, h("span", { class: "count" }, grouped(count)));
  const update = () => refill(element, explorer.legend.map(({ key, title, entries }) => h(
    "div", { class: "group", role: "group", "aria-label": `Filter by ${title}` },
    h("span", { class: "name" }, title), entries.map((entry) => chip(key, entry)),
    explorer.state.hidden[key].size > 0
      && button("show all", () => explorer.filter(key, null), { class: "plain", "data-key": `${key} all` }),
  )));
  return { element, update };
}
function streamRows({ scene, view }, n, extra = () => null) { // what streams say of a clip; `extra` adds a cell
  return scene.panels.map((panel, p) => {
    const predicted = ofStream(scene, view.predicted, p)[n];
    const verdict = predicted < 0 ? "not kept" : predicted === scene.label[n] ? "✓ right" : "✗ wrong";
    return h("tr", {}, h("th", { scope: "row" }, panel.title), h("td", {}, className(scene, predicted)),
      h("td", { class: "number" }, predicted < 0 ? "" : percent(ofStream(scene, view.confidence, p)[n] / 255)),
      h("td", { class: "verdict" }, scene.label[n] < 0 ? "" : verdict), extra(p, predicted));
  });
}
function makeHoverCard(explorer) { // the card at the mouse or the cursor; a live region says the same
  const { scene, store } = explorer;
  const element = h("div", { class: "card hover", hidden: true, "aria-hidden": true });
  const live = h("p", { class: "unseen", "aria-live": "polite" });
  const player = new Player(store);
  const show = (n, place) => {
    element.hidden = n < 0;
    if (n < 0) return player.show([], false);
    const screens = store.screens();
    element.replaceChildren(store.framed(screens), h("p", { class: "uid" }, scene.uids[n]),
      h("p", { class: "faint" }, describe(scene, n)), h("table", {}, h("tbody", {}, streamRows(explorer, n))));
    const { left, top, right, bottom } = explorer.root.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = element;
    const x = place.x + 18 + width > right ? place.x - 18 - width : place.x + 18;
    const y = Math.min(place.y - 24, Math.min(bottom, window.innerHeight) - height - 8);
    Object.assign(element.style, { left: `${Math.max(0, x - left)}px`, top: `${Math.max(0, y - top)}px` });
    live.textContent = `${scene.uids[n]}, ${describe(scene, n)}. ${votesOf(scene, explorer.view, n)}`;
    return player.show(screens.map((screen) => [screen, n]), !explorer.still);
  };
  return { element, live, show, player };
}
function makeNumbers(explorer) { // numbers of the points in scope beside those of all
  const { scene } = explorer;
  const names = scene.domains.map(({ name }) => name);
  const element = section("Numbers");
  const neighbours = help("What neighbours of the own domain say", [`Of the 10 nearest clips in feature space, not on
    the map, the share of the own domain. 100 %: the domains lie apart; a domain's share of all: they are mixed.`]);
  const update = () => {
    const { view, numbers: { selection, all, gap }, isPart } = explorer;
    const row = (title, pick, write) => h("tr", {}, h("th", { scope: "row" }, title), names.map((name) => [
      h("td", { class: "number" }, write(pick(isPart ? selection : all)[name])),
      isPart && h("td", { class: "number faint" }, write(pick(all)[name]))]));
    const rows = (quantity) => scene.panels.map(({ key, title }) => row(title, (of) => of[quantity][key], percent));
    const measures = [...new Set(Object.values(gap).flatMap((of) => Object.keys(of)))];
    const gapRow = (name) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number", colspan: 9 },
      scene.panels.filter(({ key }) => Number.isFinite(gap[key]?.[name]))
        .map(({ key, title }) => `${title} ${gap[key][name].toPrecision(2)}`).join(" · ")));
    const wide = (...text) => h("tr", {}, h("th", { class: "heading", colspan: 9 }, text));
    element.replaceChildren(
      h("h3", {}, explorer.state.selected ? "Selection" : isPart ? "Points shown" : "All points"),
      h("table", { class: "numbers" },
        h("thead", {}, h("tr", {}, h("td"), names.map((name) => [
          h("th", { scope: "col" }, name), isPart && h("th", { scope: "col", class: "faint" }, "of all")]))),
        h("tbody", {}, row("clips", (of) => of.count, grouped), wide("Predicted right"), rows("accuracy"),
          wide("Neighbours of the own domain ", neighbours),
          view.own ? rows("ownDomain") : wide("not stored for this view"),
          wide("Gap between the domains, all points"), measures.length ? measures.map(gapRow) : wide("not measured"))));
  };
  return { element, update };
}
function makeHistogram(explorer) { // bars of how many points in scope are of each class, by domain
  const { scene } = explorer;
  const element = section("Classes");
  const short = (name) => (name.length > 11 ? `${name.slice(0, 10)}…` : name);
  const update = () => {
    const { histogram, palette } = explorer;
    const colours = domainColours(scene, palette);
    const names = [...scene.classes, "unknown"].slice(0, scene.K + Number(histogram.some((of) => of[scene.K])));
    const [most, height] = [Math.max(1, ...histogram.flat()), scene.domains.length * 9 + 6];
    const words = names.map((name, k) => `${name}: ${scene.domains.map((of, d) => `${of.name} ${histogram[d][k]}`)}`);
    const bar = (k, d, width, y) => [svg("rect", { x: 72, y, width, height: 8, fill: colours[d] }),
      svg("text", { class: "small", x: 76 + width, y: y + 7.5 }, `${scene.domains[d].name} ${histogram[d][k]}`)];
    const look = { class: "bars", role: "img", viewBox: `0 0 300 ${names.length * height}`, "aria-label": `${words}` };
    element.replaceChildren(h("h3", {}, "Classes"), svg("svg", look, names.map((name, k) => [
      svg("text", { x: 66, y: (k + 0.5) * height + 1, "text-anchor": "end" }, short(name)),
      histogram.map((of, d) => bar(k, d, (of[k] / most) * 180, k * height + d * 9))])));
  };
  return { element, update };
}
