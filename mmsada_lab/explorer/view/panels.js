// Legend with filters, the card at the mouse, and the side column: numbers, histogram, gap.

/** The mark of a domain as a little picture: a disc or a diamond. */
function markIcon(shape, colour) {
  const inner = shape === "diamond"
    ? svg("path", { d: "M6 0.5 11.5 6 6 11.5 0.5 6Z", fill: colour })
    : svg("circle", { cx: 6, cy: 6, r: shape === "dot" ? 3.5 : 5, fill: colour });
  return svg("svg", { class: "mark", viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" }, inner);
}

/** Shape of a domain's marks. */
function shapeOf(domain) {
  return domain.side === "target" ? "diamond" : "disc";
}

/** Legend: groups of buttons that show or hide the points of an entry. */
function makeLegend(explorer) {
  const element = h("div", { class: "legend" });
  const update = () => refill(element, explorer.legend.map((group) => h(
    "div", { class: "group", role: "group", "aria-label": `Filter by ${group.title}` },
    h("span", { class: "name" }, group.title),
    group.entries.map((entry) => h("button", {
      type: "button", class: "chip", "aria-pressed": entry.on, "data-key": `${group.key} ${entry.code}`,
      title: "Show or hide; with Shift, show this one alone",
      onclick: (event) => explorer.filter(group.key, entry.code, event.shiftKey),
    }, markIcon(entry.shape, entry.colour), entry.label, h("span", { class: "count" }, grouped(entry.count)))),
    group.entries.some((entry) => !entry.on)
      && button("all", () => explorer.filter(group.key, null), { class: "plain", "data-key": `${group.key} all` }),
  )));
  return { element, update };
}

/** What each stream says of a clip, as rows of a table; `extra` adds cells. */
function streamRows(explorer, row, extra = () => []) {
  const { scene, view } = explorer;
  return scene.panels.map((panel, p) => {
    const predicted = ofStream(scene, view.predicted, p)[row];
    const confidence = ofStream(scene, view.confidence, p)[row] / 255;
    const label = scene.label[row];
    const verdict = label < 0 ? "" : predicted === label ? "✓ right" : "✗ wrong";
    return h("tr", {}, h("th", { scope: "row" }, panel.title), h("td", {}, className(scene, predicted)),
      h("td", { class: "number" }, percent(confidence)), h("td", { class: "verdict" }, verdict), extra(p, predicted));
  });
}

/** Where a clip is from and what it shows. */
function describe(explorer, row) {
  const { scene } = explorer;
  return `${scene.domains[scene.domain[row]].name}, class ${className(scene, scene.label[row])}`;
}

/** The card beside the point under the mouse or the cursor; its clip plays. */
function makeHoverCard(explorer) {
  const element = h("div", { class: "card hover", hidden: true, "aria-hidden": "true" });
  const live = h("p", { class: "unseen", "aria-live": "polite" });
  const player = new Player(explorer.store);
  const show = (row, place) => {
    element.hidden = row < 0;
    if (row < 0) return player.hide();
    const { scene, view, store } = explorer;
    const screens = store.modalities.map((key) => store.screen(key));
    element.replaceChildren(
      store.clips
        ? h("div", { class: "screens" }, screens.map((screen, m) => h("figure", {}, screen, h("figcaption", {}, store.modalities[m]))))
        : h("p", { class: "faint" }, "no clips in this explorer"),
      h("p", { class: "uid" }, scene.uids[row]),
      h("p", { class: "faint" }, describe(explorer, row)),
      h("table", {}, h("tbody", {}, streamRows(explorer, row))),
    );
    const bounds = explorer.root.getBoundingClientRect();
    const { offsetWidth, offsetHeight } = element;
    const left = place.x + 18 + offsetWidth > bounds.right ? place.x - 18 - offsetWidth : place.x + 18;
    const lowest = Math.min(bounds.bottom, window.innerHeight) - offsetHeight - 8;
    const top = Math.max(bounds.top, Math.min(place.y - 24, lowest));
    element.style.left = `${Math.max(0, left - bounds.left)}px`;
    element.style.top = `${top - bounds.top}px`;
    player.show(row, screens, !explorer.still);
    live.textContent = `${scene.uids[row]}, ${describe(explorer, row)}. ${votesOf(scene, view, row)}`;
  };
  return { element, live, show, player };
}

/** A titled part of the side column. */
function section(title, ...children) {
  return h("section", { class: "part", "aria-label": title }, h("h3", {}, title), ...children);
}

/** Numbers of the points in scope beside those of all. */
function makeNumbers(explorer) {
  const element = section("Numbers");
  const update = () => {
    const { scene, view, numbers, partial } = explorer;
    const names = scene.domains.map(({ name }) => name);
    const cells = (pick, write) => names.map((name) => [
      h("td", { class: "number" }, write(pick(numbers.selection, name))),
      partial && h("td", { class: "number faint" }, write(pick(numbers.all, name))),
    ]);
    const row = (title, pick, write) => h("tr", {}, h("th", { scope: "row" }, title), cells(pick, write));
    const each = (key) => scene.panels.map((panel) => row(panel.title, (of, name) => of[key][panel.key][name], percent));
    const heading = (text, ...more) => h("tr", { class: "heading" }, h("th", { colspan: 1 + names.length * (partial ? 2 : 1) }, text, more));
    element.replaceChildren(
      h("h3", {}, explorer.state.selected ? "Selection" : partial ? "Points shown" : "All points"),
      h("table", { class: "numbers" },
        h("thead", {}, h("tr", {}, h("td"), names.map((name) => [
          h("th", { scope: "col" }, name), partial && h("th", { scope: "col", class: "faint" }, "of all")]))),
        h("tbody", {}, row("clips", (of, name) => of.count[name], grouped),
          heading("Predicted right"), each("accuracy"),
          heading("Neighbours of the own domain ", help("What neighbours of the own domain say",
            "Of the 10 nearest clips in feature space (not on the map), the share that comes from the clip's own domain. "
            + "100 %: the domains lie apart. A domain's share of all clips: they are mixed.")),
          view.near ? each("ownDomain") : h("tr", {}, h("td", { class: "faint", colspan: 5 }, "not stored for this view"))),
      ),
    );
  };
  return { element, update };
}

/** Bars of how many points in scope are of each class, by domain. */
function makeHistogram(explorer) {
  const element = section("Classes");
  const update = () => {
    const { scene, palette, histogram } = explorer;
    const colours = domainColours(scene, palette);
    const codes = [...scene.classes.keys(), scene.K].filter((k) => k < scene.K || histogram.some((of) => of[k]));
    const most = Math.max(1, ...histogram.flat());
    const bar = 8;
    const height = scene.domains.length * bar + 5;
    const picture = svg("svg", {
      class: "bars", role: "img", viewBox: `0 0 300 ${codes.length * height}`,
      "aria-label": codes.map((k) => `${className(scene, k < scene.K ? k : -1)}: ${
        scene.domains.map(({ name }, d) => `${name} ${histogram[d][k]}`).join(", ")}`).join("; "),
    });
    codes.forEach((k, line) => {
      const middle = line * height + (height - 5) / 2;
      const name = className(scene, k < scene.K ? k : -1);
      picture.append(svg("text", { x: 84, y: middle + 4, "text-anchor": "end" }, name.length > 13 ? `${name.slice(0, 12)}…` : name));
      scene.domains.forEach((domain, d) => {
        const width = (histogram[d][k] / most) * 170;
        const y = line * height + d * bar;
        picture.append(
          svg("rect", { x: 90, y, width, height: bar - 1, fill: colours[d] }),
          svg("text", { class: "small", x: 94 + width, y: y + 7 }, `${domain.name} ${histogram[d][k]}`),
        );
      });
    });
    element.replaceChildren(h("h3", {}, "Classes"), picture);
  };
  return { element, update };
}

/** Gap figures of the whole view, a column for each stream. */
function makeGap(explorer) {
  const element = section("Gap");
  const update = () => {
    const { scene, view } = explorer;
    const measures = [...new Set(Object.values(view.gap ?? {}).flatMap(Object.keys))];
    const panels = scene.panels.filter(({ key }) => view.gap?.[key]);
    const cell = (value) => (Number.isFinite(value) ? value.toPrecision(2) : "–");
    element.replaceChildren(
      h("h3", {}, "Gap between the domains, whole view"),
      measures.length
        ? h("table", { class: "numbers" },
          h("thead", {}, h("tr", {}, h("td"), panels.map(({ title }) => h("th", { scope: "col" }, title)))),
          h("tbody", {}, measures.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
            panels.map(({ key }) => h("td", { class: "number" }, cell(view.gap[key][name])))))))
        : h("p", { class: "faint" }, "not measured for this view"),
    );
  };
  return { element, update };
}
