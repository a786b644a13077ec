// Legend with filters, the card at the mouse, and the side column: numbers, histogram, gap.

/** The mark of an entry as a little picture: a disc, a diamond or, without a domain, a dot. */
function markIcon({ shape, colour }) {
  const inner = shape === "diamond" ? svg("path", { d: "M6 0.5 11.5 6 6 11.5 0.5 6Z", fill: colour })
    : svg("circle", { cx: 6, cy: 6, r: shape ? 5 : 3.5, fill: colour });
  return svg("svg", { class: "mark", viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": true }, inner);
}
/** Legend: groups of buttons that show or hide the points of an entry. */
function makeLegend(explorer) {
  const element = h("div", { class: "legend" });
  const chip = (key, { code, label, count, on, ...look }) => h("button", {
    type: "button", class: "chip", "aria-pressed": on, "data-key": `${key} ${code}`,
    title: "Show or hide; with Shift, show this one alone", onclick: (event) => explorer.filter(key, code, event.shiftKey),
  }, markIcon(look), label, h("span", { class: "count" }, grouped(count)));
  const update = () => refill(element, explorer.legend.map(({ key, title, entries }) => h(
    "div", { class: "group", role: "group", "aria-label": `Filter by ${title}` },
    h("span", { class: "name" }, title), entries.map((entry) => chip(key, entry)),
    explorer.state.hidden[key].size > 0
      && button("show all", () => explorer.filter(key, null), { class: "plain", "data-key": `${key} all` }),
  )));
  return { element, update };
}
/** What each stream says of a clip, as rows of a table; `extra` adds a cell. */
function streamRows({ scene, view }, n, extra = () => null) {
  return scene.panels.map((panel, p) => {
    const predicted = ofStream(scene, view.predicted, p)[n];
    const verdict = predicted === scene.label[n] ? "✓ right" : "✗ wrong";
    return h("tr", {}, h("th", { scope: "row" }, panel.title), h("td", {}, className(scene, predicted)),
      h("td", { class: "number" }, percent(ofStream(scene, view.confidence, p)[n] / 255)),
      h("td", { class: "verdict" }, scene.label[n] < 0 ? "" : verdict), extra(p, predicted));
  });
}
/** The card beside the point under the mouse or the cursor; its clip plays, and a live region says the same. */
function makeHoverCard(explorer) {
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
    const bounds = explorer.root.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = element;
    const left = place.x + 18 + width > bounds.right ? place.x - 18 - width : place.x + 18;
    const top = Math.min(place.y - 24, Math.min(bounds.bottom, window.innerHeight) - height - 8);
    element.style.left = `${Math.max(0, left - bounds.left)}px`;
    element.style.top = `${Math.max(0, top - bounds.top)}px`;
    live.textContent = `${scene.uids[n]}, ${describe(scene, n)}. ${votesOf(scene, explorer.view, n)}`;
    return player.show(screens.map((screen) => [screen, n]), !explorer.still);
  };
  return { element, live, show, player };
}
/** Numbers of the points in scope beside those of all. */
function makeNumbers(explorer) {
  const { scene } = explorer;
  const names = scene.domains.map(({ name }) => name);
  const element = section("Numbers");
  const neighbours = help("What neighbours of the own domain say", ["Of the 10 nearest clips in feature space (not on the "
    + "map), the share that comes from the clip's own domain. 100 %: the domains lie apart. A domain's share of all "
    + "clips: they are mixed."]);
  const update = () => {
    const { view, numbers: { selection, all }, isPart } = explorer;
    const row = (title, pick, write) => h("tr", {}, h("th", { scope: "row" }, title), names.map((name) => [
      h("td", { class: "number" }, write(pick(isPart ? selection : all)[name])),
      isPart && h("td", { class: "number faint" }, write(pick(all)[name]))]));
    const rows = (quantity) => scene.panels.map(({ key, title }) => row(title, (of) => of[quantity][key], percent));
    const wide = (...text) => h("tr", {}, h("th", { class: "heading", colspan: 9 }, text));
    element.replaceChildren(
      h("h3", {}, explorer.state.selected ? "Selection" : isPart ? "Points shown" : "All points"),
      h("table", { class: "numbers" },
        h("thead", {}, h("tr", {}, h("td"), names.map((name) => [
          h("th", { scope: "col" }, name), isPart && h("th", { scope: "col", class: "faint" }, "of all")]))),
        h("tbody", {}, row("clips", (of) => of.count, grouped), wide("Predicted right"), rows("accuracy"),
          wide("Neighbours of the own domain ", neighbours),
          view.near ? rows("ownDomain") : wide("not stored for this view"))));
  };
  return { element, update };
}
/** Bars of how many points in scope are of each class, by domain. */
function makeHistogram(explorer) {
  const { scene } = explorer;
  const element = section("Classes");
  const update = () => {
    const { histogram } = explorer;
    const colours = domainColours(scene, explorer.palette);
    const names = [...scene.classes, "unknown"].slice(0, scene.K + Number(histogram.some((of) => of[scene.K])));
    const most = Math.max(1, ...histogram.flat());
    const height = scene.domains.length * 9 + 6;
    const words = names.map((name, k) => `${name}: ${scene.domains.map((domain, d) => `${domain.name} ${histogram[d][k]}`)}`);
    element.replaceChildren(h("h3", {}, "Classes"), svg("svg", {
      class: "bars", role: "img", viewBox: `0 0 300 ${names.length * height}`, "aria-label": words.join("; "),
    }, names.map((name, k) => [
      svg("text", { x: 66, y: (k + 0.5) * height + 1, "text-anchor": "end" }, name.length > 11 ? `${name.slice(0, 10)}…` : name),
      scene.domains.map((domain, d) => {
        const [width, y] = [(histogram[d][k] / most) * 180, k * height + d * 9];
        return [svg("rect", { x: 72, y, width, height: 8, fill: colours[d] }),
          svg("text", { class: "small", x: 76 + width, y: y + 7.5 }, `${domain.name} ${histogram[d][k]}`)];
      })])));
  };
  return { element, update };
}
/** Gap figures of the whole view, a column for each stream. */
function makeGap(explorer) {
  const element = section("Gap");
  const update = () => {
    const gap = explorer.view.gap ?? {};
    const measures = [...new Set(Object.values(gap).flatMap((of) => Object.keys(of)))];
    const panels = explorer.scene.panels.filter(({ key }) => gap[key]);
    const cell = (value) => h("td", { class: "number" }, Number.isFinite(value) ? value.toPrecision(2) : "–");
    element.replaceChildren(h("h3", {}, "Gap between the domains, all points"), measures.length
      ? h("table", { class: "numbers" },
        h("thead", {}, h("tr", {}, h("td"), panels.map(({ title }) => h("th", { scope: "col" }, title)))),
        h("tbody", {}, measures.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
          panels.map(({ key }) => cell(gap[key][name]))))))
      : h("p", { class: "faint" }, "not measured for this view"));
  };
  return { element, update };
}
