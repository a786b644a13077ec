// What follows from the state of an explorer: who is shown and counted, legend, numbers, histogram, confusion.
const viewAt = (scene, [series, view]) => scene.series[series].views[view]; // by numbers
/** A view by the text "SERIES/VIEW" as [series, view]; undefined if there is none. */
const findView = (scene, text) => scene.series.flatMap(({ key, views }, s) =>
  views.map((view, v) => [`${key}/${view.key}`, s, v])).find(([name]) => name === text)?.slice(1);
function referenceOf(scene) { // the view that "flipped by adaptation" compares with; null if there is none
  const place = scene.reference && findView(scene, `${scene.reference.series}/${scene.reference.view}`);
  return place ? viewAt(scene, place) : null;
}
function derive(scene, state, palette) { // everything that follows from the state
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
    numbers: { selection: numbersOf(scope, scene, view), all: numbersOf(all, scene, view, true), gap: view.gap ?? {} },
    histogram: histogramOf(scope, scene),
    confusion: {
      counts: count(view), other: state.against ? count(viewAt(scene, state.against)) : null,
      unknown: counted.filter((n) => label[n] < 0).length,
    },
    cellRows: state.cell ? counted.filter((n) => label[n] === state.cell[0]
      && Math.min(ofStream(scene, view.predicted, state.stream)[n], scene.K) === state.cell[1]) : [],
    neighbours: neighboursOf(scene, state, view, state.pinned),
  };
}
function legendOf(scene, state, palette, scheme, codes) { // groups of entries; `rare` ones only if they occur
  const plain = mix(palette.ink, palette.ground, 0.45);
  const group = (key, title, entries, codeOf) => {
    const counts = new Array(entries.length).fill(0);
    for (let n = 0; n < scene.N; n++) counts[codeOf(n)] += 1;
    const off = state.hidden[key];
    const full = entries.map((entry, code) => ({ ...entry, code, count: counts[code], on: !off.has(code) }));
    return { key, title, entries: full.filter(({ count, rare }) => count || !rare) };
  };
  const colourIf = (key, k) => (state.colour === key ? scheme.entries[k].colour : plain);
  const domains = scene.domains.map((domain, d) =>
    ({ label: domain.name, shape: shapeOf(domain), colour: colourIf("domain", d) }));
  const classes = [...scene.classes, "unknown"].map((label, k) =>
    ({ label, colour: colourIf("class", k), rare: k === scene.K }));
  const own = scheme.entries.map((entry) => ({ ...entry, rare: entry.colour === palette.grey }));
  const title = `${COLOURINGS[state.colour]}, ${scene.panels[state.stream].title}`;
  return [group("domain", "Domain", domains, (n) => scene.domain[n]),
    group("class", "Class", classes, (n) => classCode(scene, scene.label[n])),
    ...(["domain", "class"].includes(state.colour) ? [] : [group("colour", title, own, (n) => codes[n])])];
}
function neighboursOf(scene, state, view, n) { // nearest clips of the other domain, in the chosen stream
  if (n < 0 || !view.across) return [];
  const width = view.across.shape[2];
  const near = ofStream(scene, view.across, state.stream, width);
  return [...near.subarray(n * width, (n + 1) * width)].filter((m) => m >= 0);
}
