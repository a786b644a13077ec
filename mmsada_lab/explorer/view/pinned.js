// The pinned clip: all modalities in step, what each stream said window by window, neighbours across domains.
function windowBars({ scene, view, palette }, p, n, predicted) { // scores of true and predicted class
  if (!view.windows) return null;
  const [, , W, K] = view.windows.shape;
  const scores = ofStream(scene, view.windows, p, W * K).subarray(n * W * K, (n + 1) * W * K);
  const score = (w, k) => (k >= 0 && k < K ? scores[w * K + k] / 255 : null);
  const bar = (x, value, look) => value !== null
    && svg("rect", { x, y: 24.5 - 24 * value, width: 5, height: 24 * value + 0.5, ...look });
  const [truth, vote] = [scene.label[n], predicted].map((k) => Array.from({ length: W }, (_, w) => score(w, k)));
  const words = truth.map((value, w) => `window ${w + 1}: true class ${percent(value)}, predicted ${percent(vote[w])}`);
  const colour = palette.ofStream(scene.panels[p].key) ?? palette.ink;
  return svg("svg", { class: "windows", role: "img", width: W * 16, height: 26, "aria-label": words.join("; ") },
    svg("title", {}, words.join("\n")), truth.map((value, w) => [
      svg("line", { x1: w * 16 + 1, x2: w * 16 + 13, y1: 25.5, y2: 25.5, stroke: palette.grey }),
      bar(w * 16 + 1.5, value, { stroke: palette.ink, fill: "none" }), bar(w * 16 + 8, vote[w], { fill: colour })]));
}
function command(scene, n) { // what shows the whole clip, its table and windows; a click selects all of it
  const quoted = (text) => (/^[\w:=,.@%+/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const text = `mmsada data show ${quoted(scene.data)} --uid ${quoted(scene.uids[n])}`;
  return h("p", { class: "faint" }, "All of it: ", h("code", { class: "command", title: "Click to select" }, text));
}
function makePinned(explorer) { // the card of the pinned clip
  const { store, scene } = explorer;
  const element = section("Pinned clip", { hidden: true });
  const frames = store.clips?.frames ?? 1;
  const slider = h("input", {
    type: "range", min: 0, max: frames - 1, step: 1, "aria-label": "Frame",
    oninput: () => { const to = Number(slider.value); player.play(false); player.seek(to); },
  });
  const play = button("", () => player.play(player.timer === null), { class: "wide" });
  const player = new Player(store, () => {
    slider.value = player.frame;
    slider.setAttribute("aria-valuetext", `frame ${player.frame + 1} of ${frames}`);
    play.textContent = player.timer === null ? "Play" : "Pause";
  });
  const stills = new Player(store);
  let [pinned, screens] = [-1, []];
  const thumb = (n, still) => h("button", { // a button with a still of a neighbour, which pins it
    type: "button", title: `${scene.uids[n]}, ${describe(scene, n)}`, "data-key": `near ${n}`,
    "aria-label": `Pin ${scene.uids[n]}, ${describe(scene, n)}`, onclick: () => explorer.pin(n),
  }, still, h("span", {}, className(scene, scene.label[n])));
  const update = () => {
    const { state, view, neighbours } = explorer;
    const isNew = pinned !== state.pinned;
    pinned = state.pinned;
    element.hidden = pinned < 0;
    if (isNew) screens = pinned < 0 ? [] : store.screens();
    if (isNew) player.show(screens.map((screen) => [screen, pinned]), !explorer.still);
    const images = neighbours.map(() => store.screens(store.modalities.slice(0, 1)));
    stills.show(images.flatMap(([still], k) => (still ? [[still, neighbours[k]]] : [])), false);
    if (pinned < 0) return;
    refill(element,
      h("h3", {}, h("span", { class: "uid" }, scene.uids[pinned]),
        button("Close", () => explorer.pin(-1), { class: "plain", "data-key": "close" })),
      h("p", { class: "faint" }, describe(scene, pinned)), store.framed(screens),
      scene.data ? command(scene, pinned) : null,
      store.clips ? h("div", { class: "row" }, play, slider) : null,
      h("table", {}, h("tbody", {}, streamRows(explorer, pinned,
        (p, predicted) => h("td", {}, windowBars(explorer, p, pinned, predicted))))),
      h("p", { class: "faint" }, view.windows ? "Bars: each window's score of the true class (outlined) and of the "
        + "predicted class (filled)." : "Scores of windows are not stored for this view."),
      h("h4", {}, `Nearest in the other domain, ${scene.panels[state.stream].title}`),
      view.across ? h("div", { class: "thumbs" }, neighbours.map((n, k) => thumb(n, images[k])))
        : h("p", { class: "faint" }, "Neighbours are not stored for this view."));
  };
  return { element, update, player, stills };
}
