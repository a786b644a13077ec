// The confusion of a stream as a table of buttons, and the gallery of the clips behind a cell.
const PAGE = 40; // clips of a gallery that are shown at once

/** Table of counts (or of their difference to another view): rows are true classes, columns predictions. */
function confusionTable({ scene, confusion, palette, state, openCell }, isSmall) {
  const { counts } = confusion;
  const other = isSmall ? null : confusion.other;
  const isUsed = [counts, other ?? []].some((matrix) => matrix.some((of) => of[scene.K]));
  const columns = [...Array(scene.K + Number(isUsed)).keys()];
  const shareOf = (of, k) => of[k] / (of.reduce((sum, count) => sum + count, 0) || 1);
  const cell = (label, k) => {
    const [count, before] = [counts[label][k], other ? other[label][k] : 0];
    const share = shareOf(counts[label], k);
    const { ground, text } = cellColours(other ? 2 * (share - shareOf(other[label], k)) : share, palette, other);
    const difference = `${count > before ? "+" : ""}${count - before}`;
    const names = `${className(scene, label)} taken for ${className(scene, k)}`;
    const words = `${names}: ${count}, ${percent(share)} of the class${other ? `; ${before} in the other view` : ""}`;
    return h("td", {}, h("button", {
      type: "button", class: label === k ? "cell diagonal" : "cell", "aria-label": words, title: words,
      "data-key": `cell ${label} ${k}`, "aria-pressed": state.cell?.[0] === label && state.cell[1] === k,
      style: `background:${ground};color:${text}`, onclick: () => openCell(label, k),
    }, count || before ? (other ? difference : grouped(count)) : "·"));
  };
  const heads = columns.map((k) => className(scene, k)).map((title) =>
    h("th", { scope: "col", title }, h("span", {}, title)));
  return h("table", { class: isSmall ? "confusion small" : "confusion" },
    h("thead", {}, h("tr", {}, h("td", { class: "faint" }, "↓\u00a0true, →\u00a0predicted"), heads)),
    h("tbody", {}, scene.classes.map((name, label) => h("tr", {},
      h("th", { scope: "row", title: name }, name), columns.map((k) => cell(label, k))))));
}
function makeSmallConfusion(explorer) { // the confusion of the points in scope, small, for the side column
  const { scene, state } = explorer;
  const element = section("Confusion");
  const update = () => {
    element.hidden = state.tab === "confusion";
    if (element.hidden) return;
    refill(element, h("h3", {}, `Confusion, ${scene.panels[state.stream].title}, ${explorer.domainTitle}`),
      scene.K <= 12 ? confusionTable(explorer, true) : h("p", {}, `${scene.K} classes: see the tab Confusion.`));
  };
  return { element, update };
}
function makeConfusion(explorer) { // the tab: what is counted, the table, the gallery
  const { scene, state } = explorer;
  const [table, note] = [h("div", { class: "scroll" }), h("p", { class: "faint" })];
  const domains = [[-1, "both domains"], ...scene.domains.map(({ name }, d) => [d, name])];
  const series = [["", "no other view"], ...scene.series.map(({ title }, s) => [s, title])];
  const views = choice("View", [], "", (v) => explorer.set({ against: [state.against[0], Number(v)] }));
  const leaveOut = () => explorer.set({ within: within.checked });
  const within = h("input", { type: "checkbox", checked: true, onchange: leaveOut });
  const gallery = makeGallery(explorer);
  const element = h("div", { class: "columns" }, h("div", {},
    h("div", { class: "row" }, choice("Domain", domains, -1, (d) => explorer.set({ domain: Number(d) })),
      choice("Compare with", series, "", (s) => explorer.set({ against: s === "" ? null : [Number(s), 0] })), views),
    table, note, h("label", { class: "row" }, within, "Leave out clips outside filters and selection")),
  gallery.element);
  const update = () => {
    if (state.tab !== "confusion") return;
    const { confusion: { other, unknown } } = explorer;
    const [s, v] = state.against ?? [0, 0];
    views.hidden = !state.against;
    fillChoice(views.lastChild, scene.series[s].views.map(({ title }, number) => [number, title]), v);
    refill(table, confusionTable(explorer, false));
    note.textContent = (other ? "Clips more (purple) or fewer (brown) than in the other view."
      : "Clips; tinted by their share of the true class.")
      + (unknown ? ` ${grouped(unknown)} clips without a label are left out.` : "");
    gallery.update();
  };
  return { element, update, gallery };
}
function makeGallery(explorer) { // clips behind a cell: each plays under the mouse or the focus
  const { scene, store, state } = explorer;
  const element = h("section", { class: "gallery", "aria-label": "Clips of the cell" });
  const [player, stills] = [new Player(store), new Player(store)];
  const status = h("span", { class: "faint", role: "status" });
  const values = {
    Clip: (n) => n, uid: (n) => scene.uids[n], Domain: (n) => scene.domains[scene.domain[n]].name,
    Votes: (n) => votesOf(scene, explorer.view, n),
    Confidence: (n) => ofStream(scene, explorer.view.confidence, state.stream)[n],
  };
  let [column, isDown, shown] = ["Clip", false, PAGE];
  const sorted = () => { // rows of the cell in the chosen order
    const pairs = explorer.cellRows.map((n) => [values[column](n), n]);
    pairs.sort(([a, n], [b, m]) => (a < b ? -1 : a > b ? 1 : n - m));
    return (isDown ? pairs.reverse() : pairs).map(([, n]) => n);
  };
  const sortBy = (name) => { // sorts by a column, the other way round at a second press
    [column, isDown] = [name, column === name && !isDown];
    update();
  };
  const copy = async (rows) => { // puts the uids into the clipboard, or shows them where that is not allowed
    const text = rows.map((n) => scene.uids[n]).join("\n");
    const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    const byHand = ["Copy by hand:", h("textarea", { readonly: true, "aria-label": "uids" }, text)];
    status.replaceChildren(...(copied ? [`${rows.length} uids copied`] : byHand));
  };
  const line = (n, screens) => { // one clip as a row of the table
    const play = () => player.show(screens.map((screen) => [screen, n]), !explorer.still);
    const stop = () => { player.show([], false); stills.draw(); };
    return h("tr", { onmouseenter: play, onmouseleave: stop, onfocusin: play, onfocusout: stop },
      h("td", {}, store.clips ? h("div", { class: "screens" }, screens) : "no clips"),
      h("td", {}, button(scene.uids[n], () => explorer.pin(n), { title: "Pin this clip", "data-key": `pin ${n}` })),
      h("td", {}, values.Domain(n)), h("td", {}, values.Votes(n)),
      h("td", { class: "number" }, percent(values.Confidence(n) / 255)));
  };
  const head = (name) => h("th", { // head of a column: a button that sorts by it
    scope: "col", "aria-sort": column !== name ? "none" : isDown ? "descending" : "ascending",
  }, button(`${name}${column !== name ? "" : isDown ? " ▼" : " ▲"}`, () => sortBy(name),
    { class: "plain", "data-key": `sort ${name}` }));
  const update = () => {
    player.show([], false);
    const rows = sorted();
    const seen = rows.slice(0, shown);
    const screens = seen.map(() => store.screens());
    stills.show(screens.flatMap((of, k) => of.map((screen) => [screen, seen[k]])), false);
    if (!state.cell) return element.replaceChildren(h("p", { class: "faint" }, "Choose a cell to see its clips."));
    const [label, predicted] = state.cell.map((k) => className(scene, k));
    return refill(element, h("h3", {}, `${label} taken for ${predicted}: ${grouped(rows.length)} clips`),
      h("div", { class: "row" }, button("Copy uids", () => copy(rows), { "data-key": "copy" }),
        button("Select on the map", () => explorer.select(rows), { "data-key": "select" }), status),
      h("div", { class: "scroll" }, h("table", { class: "clips" },
        h("thead", {}, h("tr", {}, Object.keys(values).map(head))),
        h("tbody", {}, seen.map((n, k) => line(n, screens[k])))),
      rows.length > shown && button(`Show more of ${rows.length - shown}`, () => { shown += PAGE; update(); })));
  };
  return { element, update, sorted, player, stills };
}
