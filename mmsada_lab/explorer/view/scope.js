// What follows from the state of an explorer: who is shown and counted, legend, numbers, histogram, confusion.

/** The view with this number in the series with that one. */
const viewAt = (scene, [series, view]) => scene.series[series].views[view];
/** A view by the text "SERIES/VIEW" as [series, view]; undefined if there is none. */
const findView = (scene, text) => scene.series.flatMap(({ key, views }, s) =>
  views.map((view, v) => [`${key}/${view.key}`, s, v])).find(([name]) => name === text)?.slice(1);
/** The view that "flipped by adaptation" compares with; null if there is none. */
function referenceOf(scene) {
  const place = scene.reference && findView(scene, `${scene.reference.series}/${scene.reference.view}`);
  return place ? viewAt(scene, place) : null;
}
/** Everything that follows from the state. */
function derive(scene, state, palette) {
  const { N, P, label, domain } = scene;
  const view = viewAt(scene, [state.series, state.view]);
  const scheme = colouring(state.colour, scene, view, referenceOf(scene), palette);
  const codes = Array.from({ length: P }, (_, p) => scheme.codes(p));
  const { hidden, selected } = state;
  const all = [...Array(N).keys()];
  const rows = all.filter((n) => !hidden.domain.has(domain[n]) && !hidden.class.has(classCode(scene, label[n]))
    && !hidden.colour.has(codes[state.stream][n]));
  const scope = selected ? rows.filter((n) => selected.has(n)) : rows;
  const counted = (state.within ? scope : all).filter((n) => state.domain < 0 || domain[n] === state.domain);
  const count = (of) => confusionOf(counted, label, ofStream(scene, of.predicted, state.stream), scene.K);
  return {
    view, scheme, codes, rows, counted, isPart: scope.length < N,
    legend: legendOf(scene, state, palette, scheme, codes[state.stream]),
    numbers: { selection: numbersOf(scope, scene, view), all: numbersOfAll(all, scene, view), gap: view.gap ?? {} },
    histogram: histogramOf(scope, scene),
    confusion: {
      counts: count(view), other: state.against ? count(viewAt(scene, state.against)) : null,
      unknown: counted.filter((n) => label[n] < 0).length,
    },
    neighbours: neighboursOf(scene, state, view, state.pinned),
  };
}
/** Numbers of all points; an accuracy that the view states itself goes before the one counted here. */
function numbersOfAll(rows, scene, view) {
  const numbers = numbersOf(rows, scene, view);
  for (const [stream, of] of Object.entries(view.accuracy ?? {})) {
    for (const [name, value] of Object.entries(of)) {
      if (numbers.accuracy[stream] && Number.isFinite(value)) numbers.accuracy[stream][name] = value / 100;
    }
  }
  return numbers;
}
/** Groups of the legend, each entry with its count over all points; entries marked `rare` only if they occur. */
function legendOf(scene, state, palette, scheme, codes) {
  const plain = mix(palette.ink, palette.ground, 0.45);
  const group = (key, title, entries, codeOf) => {
    const counts = new Array(entries.length).fill(0);
    for (let n = 0; n < scene.N; n++) counts[codeOf(n)] += 1;
    const off = state.hidden[key];
    const full = entries.map((entry, code) => ({ ...entry, code, count: counts[code], on: !off.has(code) }));
    return { key, title, entries: full.filter(({ count, rare }) => count || !rare) };
  };
  const colourIf = (key, k) => (state.colour === key ? scheme.entries[k].colour : plain);
  const rare = (text) => text === "unknown" || text === "no class";
  const groups = [
    group("domain", "Domain", scene.domains.map((domain, d) =>
      ({ label: domain.name, shape: shapeOf(domain), colour: colourIf("domain", d) })), (n) => scene.domain[n]),
    group("class", "Class", [...scene.classes, "unknown"].map((label, k) =>
      ({ label, colour: colourIf("class", k), rare: k === scene.K })), (n) => classCode(scene, scene.label[n])),
  ];
  if (state.colour === "domain" || state.colour === "class") return groups;
  const title = `${COLOURINGS[state.colour]}, ${scene.panels[state.stream].title}`;
  return [...groups, group("colour", title, scheme.entries.map((entry) => ({ ...entry, rare: rare(entry.label) })),
    (n) => codes[n])];
}
/** Nearest clips of the other domain, in the chosen stream. */
function neighboursOf(scene, state, view, n) {
  if (n < 0 || !view.across) return [];
  const width = view.across.shape[2];
  const near = ofStream(scene, view.across, state.stream, width);
  return [...near.subarray(n * width, (n + 1) * width)].filter((m) => m >= 0);
}
