// The pinned clip: all modalities in step, what each stream said window by window, neighbours across domains.

/** Bars of every window's score: the true class (outlined) beside the predicted one. */
function windowBars(explorer, p, row, predicted) {
  const { scene, view, palette } = explorer;
  if (!view.windows) return null;
  const [, , W, K] = view.windows.shape;
  const scores = ofStream(scene, view.windows, p, W * K).subarray(row * W * K, (row + 1) * W * K);
  const score = (w, k) => (k >= 0 && k < K ? scores[w * K + k] / 255 : null);
  const label = scene.label[row];
  const words = [];
  const step = 16;
  const picture = svg("svg", { class: "windows", role: "img", width: W * step, height: 26, viewBox: `0 0 ${W * step} 26` });
  for (let w = 0; w < W; w++) {
    const [truth, vote] = [score(w, label), score(w, predicted)];
    picture.append(svg("line", { x1: w * step + 1, x2: w * step + 13, y1: 25.5, y2: 25.5, stroke: palette.grey }));
    if (truth !== null) {
      picture.append(svg("rect", {
        class: "truth", x: w * step + 1.5, y: 24.5 - 24 * truth, width: 5, height: 24 * truth + 0.5, stroke: palette.ink, fill: "none",
      }));
    }
    if (vote !== null) {
      picture.append(svg("rect", {
        class: "vote", x: w * step + 8, y: 24.5 - 24 * vote, width: 5.5, height: 24 * vote + 0.5, fill: palette.ofStream(scene.panels[p].key),
      }));
    }
    words.push(`window ${w + 1}: true class ${percent(truth)}, predicted class ${percent(vote)}`);
  }
  picture.setAttribute("aria-label", words.join("; "));
  picture.append(svg("title", {}, words.join("\n")));
  return picture;
}

/** The card of the pinned clip. */
function makePinned(explorer) {
  const element = h("section", { class: "part pinned", "aria-label": "Pinned clip", hidden: true });
  const { store, scene } = explorer;
  const frames = store.clips?.frames ?? 1;
  const slider = h("input", {
    type: "range", min: 0, max: frames - 1, step: 1, "aria-label": "Frame",
    oninput: () => { player.play(false); player.seek(Number(slider.value)); },
  });
  const playButton = button("", () => player.play(!player.playing), { class: "wide" });
  const player = new Player(store, () => {
    slider.value = player.frame;
    slider.setAttribute("aria-valuetext", `frame ${player.frame + 1} of ${frames}`);
    playButton.textContent = player.playing ? "Pause" : "Play";
  });
  const stills = new Player(store);
  let shown = -1;

  /** Buttons with a still of each neighbour in the other domain. */
  const neighbours = () => {
    if (!explorer.view.across) return h("p", { class: "faint" }, "Neighbours are not stored for this view.");
    stillsOf.length = 0;
    return h("div", { class: "thumbs" }, explorer.atlas.neighbours.map((row) => {
      const screens = store.modalities.slice(0, 1).map((key) => store.screen(key));
      if (screens.length) stillsOf.push([screens[0], row]);
      return h("button", {
        type: "button", title: `${scene.uids[row]}, ${describe(explorer, row)}`, "data-key": `near ${row}`,
        "aria-label": `Pin ${scene.uids[row]}, ${describe(explorer, row)}`, onclick: () => explorer.pin(row),
      }, screens, h("span", {}, className(scene, scene.label[row])));
    }));
  };
  const stillsOf = [];
  stills.draw = () => {
    for (const [canvas, row] of stillsOf) store.draw(canvas, row, Math.floor(frames / 2));
  };

  const update = () => {
    const { pinned } = explorer.state;
    element.hidden = pinned < 0;
    if (pinned < 0) {
      shown = -1;
      return player.hide();
    }
    const same = shown === pinned;
    const screens = same ? player.canvases : store.modalities.map((key) => store.screen(key));
    const stream = scene.panels[explorer.state.stream].title;
    refill(element,
      h("h3", {}, h("span", { class: "uid" }, scene.uids[pinned]), button("Close", () => explorer.pin(-1), { class: "plain", "data-key": "close" })),
      h("p", { class: "faint" }, describe(explorer, pinned)),
      store.clips
        ? h("div", { class: "screens large" }, screens.map((screen, m) => h("figure", {}, screen, h("figcaption", {}, store.modalities[m]))))
        : h("p", { class: "faint" }, "This explorer holds no clips."),
      store.clips && h("div", { class: "row" }, playButton, slider),
      h("table", { class: "streams" }, h("tbody", {}, streamRows(explorer, pinned,
        (p, predicted) => [h("td", {}, windowBars(explorer, p, pinned, predicted))]))),
      h("p", { class: "faint" }, explorer.view.windows
        ? "Bars: each window's score of the true class (outlined) and the predicted class (filled)."
        : "Scores of windows are not stored for this view."),
      h("h4", {}, `Nearest in the other domain, ${stream}`),
      neighbours(),
    );
    if (!same) player.show(pinned, screens, !explorer.still);
    shown = pinned;
    stills.draw();
  };
  return { element, update, player };
}
