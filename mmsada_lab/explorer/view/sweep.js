// The tab of a swept option: lines over its values, and a slider that moves map and confusion along.

const CHART = { width: 420, height: 128, left: 38, right: 12, top: 8, bottom: 24 };

/** A chart of lines {name, values, colour, dash, sd} over the values of a sweep; `own`: each line on its own 0..1. */
function drawChart({ scene, state }, { title, unit, lines, own, note }) {
  const { values, log } = scene.sweeps[state.sweep];
  const { width, height, left, right, top, bottom } = CHART;
  const floor = height - bottom;
  const xs = axisPlaces(values, log).map((place) => left + 8 + place * (width - left - right - 16));
  const scaled = lines.map((line) => {
    const known = line.values.filter(Number.isFinite);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const scale = (value) => (!own || !Number.isFinite(value) ? value : high > low ? (value - low) / (high - low) : 0.5);
    return { ...line, drawn: line.values.map(scale) };
  });
  const ends = scaled.flatMap(({ drawn, sd }) => drawn.flatMap((value, k) => [value - (sd?.[k] ?? 0), value + (sd?.[k] ?? 0)]));
  const [least, most] = [Math.min(...ends.filter(Number.isFinite)), Math.max(...ends.filter(Number.isFinite))];
  const air = (most - least) * 0.08 || 1;
  const y = (value) => floor - ((value - least + air) / (most - least + 2 * air)) * (floor - top);
  const gap = (xs[0] + xs[1]) / 2;
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title },
    roundTicks(least - air, most + air, 4).map((tick) => [
      svg("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, String(Number(tick.toPrecision(3))))]),
    svg("line", { class: "axis", x1: left, x2: width - right, y1: floor, y2: floor }),
    values.map((value, k) => [svg("line", { class: "axis", x1: xs[k], x2: xs[k], y1: floor, y2: floor + 4 }),
      (values.length <= 10 || k % 2 === 0)
        && svg("text", { x: xs[k], y: height - 6, "text-anchor": "middle" }, String(value))]),
    log && values[0] === 0 && xs.length > 1 && svg("path", { class: "axis", d: `M${gap - 5} ${floor + 4}l4 -8m2 8l4 -8` }),
    svg("line", { class: "cursor", x1: xs[state.sweepAt], x2: xs[state.sweepAt], y1: top, y2: floor }));
  const names = scaled.map(({ name, values: of, drawn, colour, dash, sd }) => {
    const known = xs.map((_, k) => k).filter((k) => Number.isFinite(drawn[k]));
    const edge = (rows, sign) => rows.map((k) => `${xs[k]} ${y(drawn[k] + sign * (sd[k] ?? 0))}`);
    const look = { stroke: colour, "stroke-dasharray": dash || null, "stroke-width": 2, fill: "none" };
    const here = of[state.sweepAt];
    picture.append(...wanted([
      sd?.some(Number.isFinite) && svg("path", {
        class: "band", fill: colour, d: `M${[...edge(known, 1), ...edge(known.slice().reverse(), -1)].join("L")}Z`,
      }),
      svg("path", { ...look, d: known.map((k) => `${known.includes(k - 1) ? "L" : "M"}${xs[k]} ${y(drawn[k])}`).join("") }),
      Number.isFinite(here) && svg("circle", { cx: xs[state.sweepAt], cy: y(drawn[state.sweepAt]), r: 3.5, fill: colour })]));
    return h("li", {}, svg("svg", { width: 22, height: 8, "aria-hidden": true }, svg("path", { ...look, d: "M0 4H22" })),
      `${name} `, h("b", {}, Number.isFinite(here) ? String(Number(here.toPrecision(3))) : "–"));
  });
  return h("figure", { class: "part" },
    h("figcaption", {}, h("b", {}, title), h("span", { class: "faint" }, note ? `${unit}; ${note}` : unit)),
    h("ul", { class: "lines" }, names), picture);
}
/** The charts of a sweep; what it does not hold is left out. */
function chartsOf({ scene, state, palette }) {
  const { values, accuracy: { mean, sd, over }, baseline, scores, opponents, recall } = scene.sweeps[state.sweep];
  const lines = (of, colourOf) => Object.entries(of ?? {}).map(([name, numbers], k) =>
    ({ name: name.replaceAll("_", " "), values: numbers, colour: colourOf(name, k), dash: DASHES[k % DASHES.length] }));
  const ofName = (name, k) => (STREAMS[name.split(", ").at(-1)] ? palette.ofStream(name.split(", ").at(-1)) : palette.ofLine(k));
  const known = scene.classes.map((name, k) => [name, (recall ?? []).map((of) => of[k])]);
  return [
    { title: "Accuracy on the target", unit: "%", note: sd?.some(Number.isFinite) ? `band: ± sd over ${over}` : over, lines: [
      { name: "target", values: mean, sd, colour: palette.ofSide("target") },
      ...(baseline ? [{ name: baseline.title, values: values.map(() => baseline.top1), colour: palette.grey, dash: "6 4" }] : []),
    ] },
    { title: "Scores without labels", unit: "each on its own scale", own: true, lines: lines(scores, ofName) },
    { title: "How often the opponents are right", unit: "%", lines: lines(opponents, ofName) },
    { title: "Recall of each class", unit: "%", lines: known.map(([name, numbers], k) =>
      ({ name, values: numbers, colour: palette.ofClass(k), dash: DASHES[k % DASHES.length] })) },
  ].filter((chart) => chart.lines.some((line) => line.values.some(Number.isFinite)));
}
/** The tab: choice of the sweep, slider over its values, charts. */
function makeSweep(explorer) {
  const { scene, state } = explorer;
  const slider = h("input", { type: "range", min: 0, "aria-label": "Value", oninput: () => explorer.sweepTo(Number(slider.value)) });
  const [value, note, charts] = [h("output", { class: "value" }), h("span", { class: "faint" }), h("div", { class: "charts" })];
  const titles = scene.sweeps.map(({ title }, s) => [s, title]);
  const sweeps = choice("Sweep", titles, 0, (s) => { state.sweep = Number(s); explorer.sweepTo(0); });
  const element = h("div", {}, h("div", { class: "row" }, sweeps, slider, value, note), charts);
  const update = () => {
    if (state.tab !== "sweep") return;
    const { title, values } = scene.sweeps[state.sweep];
    sweeps.lastChild.value = state.sweep;
    slider.max = values.length - 1;
    slider.value = state.sweepAt;
    value.textContent = `${title} = ${values[state.sweepAt]}`;
    slider.setAttribute("aria-valuetext", value.textContent);
    note.textContent = explorer.sweepView() ? "map and confusion follow" : "no map was made at this value";
    charts.replaceChildren(...chartsOf(explorer).map((chart) => drawChart(explorer, chart)));
  };
  return { element, update };
}
