// The tab of a swept option: lines over its values, and a slider that moves map and confusion along.
const CHART = { width: 420, height: 128, left: 38, right: 408, top: 8, floor: 104 };

/** A chart of lines {name, values, colour, dash, sd} over the values of a sweep; `own`: each line on its own 0..1. */
function drawChart({ scene, state: { sweep, sweepAt: at } }, { title, unit, lines, own, note }) {
  const { values, log } = scene.sweeps[sweep];
  const { width, height, left, right, top, floor } = CHART;
  const isKnown = Number.isFinite;
  const xs = axisPlaces(values, log).map((place) => left + 8 + place * (right - left - 16));
  const scaled = lines.map((line) => {
    const known = line.values.filter(isKnown);
    const [low, range] = [Math.min(...known), Math.max(...known) - Math.min(...known)];
    const scale = (value) => (own && isKnown(value) ? (range ? (value - low) / range : 0.5) : value);
    return { ...line, drawn: line.values.map(scale) };
  });
  const around = ({ drawn, sd }) => drawn.flatMap((value, k) => [value - (sd?.[k] ?? 0), value + (sd?.[k] ?? 0)]);
  const ends = scaled.flatMap(around).filter(isKnown);
  const air = (Math.max(...ends) - Math.min(...ends)) * 0.08 || 1;
  const [low, high] = [Math.min(...ends) - air, Math.max(...ends) + air];
  const y = (value) => floor - ((value - low) / (high - low)) * (floor - top);
  const round = (value) => String(Number(value.toPrecision(3)));
  const text = (x, under, anchor, words) => svg("text", { x, y: under, "text-anchor": anchor }, words);
  const rule = (name, x1, y1, x2, y2) => svg("line", { class: name, x1, y1, x2, y2 });
  const gap = (xs[0] + xs[1]) / 2;
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title },
    roundTicks(low, high, 4).map((tick) =>
      [rule("grid", left, y(tick), right, y(tick)), text(left - 5, y(tick) + 4, "end", round(tick))]),
    rule("axis", left, floor, right, floor),
    values.map((value, k) => [rule("axis", xs[k], floor, xs[k], floor + 4),
      (values.length <= 10 || k % 2 === 0) && text(xs[k], height - 6, "middle", String(value))]),
    log && values[0] === 0 && gap > 0 && svg("path", { class: "axis", d: `M${gap - 5} ${floor + 4}l4 -8m2 8l4 -8` }),
    rule("cursor", xs[at], top, xs[at], floor));
  const names = scaled.map(({ name, values: of, drawn, colour, dash, sd }) => {
    const known = [...xs.keys()].filter((k) => isKnown(drawn[k]));
    const edge = (rows, sign) => rows.map((k) => `${xs[k]} ${y(drawn[k] + sign * (sd[k] ?? 0))}`);
    const path = known.map((k) => `${known.includes(k - 1) ? "L" : "M"}${xs[k]} ${y(drawn[k])}`).join("");
    const look = { stroke: colour, "stroke-dasharray": dash || null, "stroke-width": 2, fill: "none" };
    const band = sd?.some(isKnown) && `M${[...edge(known, 1), ...edge(known.slice().reverse(), -1)].join("L")}Z`;
    picture.append(...wanted([band && svg("path", { class: "band", fill: colour, d: band }),
      svg("path", { ...look, d: path }),
      isKnown(of[at]) && svg("circle", { cx: xs[at], cy: y(drawn[at]), r: 3.5, fill: colour })]));
    const sample = svg("svg", { width: 22, height: 8, "aria-hidden": true }, svg("path", { ...look, d: "M0 4H22" }));
    return h("li", {}, sample, `${name} `, h("b", {}, isKnown(of[at]) ? round(of[at]) : "–"));
  });
  return h("figure", { class: "part" },
    h("figcaption", {}, h("b", {}, title), h("span", { class: "faint" }, note ? `${unit}; ${note}` : unit)),
    h("ul", { class: "lines" }, names), picture);
}
function chartsOf({ scene, state, palette }) { // the charts of a sweep; what it does not hold is left out
  const { values, accuracy: { mean, sd, over }, baseline, scores, opponents, recall } = scene.sweeps[state.sweep];
  const lines = (of, colourOf) => Object.entries(of ?? {}).map(([name, numbers], k) =>
    ({ name: name.replaceAll("_", " "), values: numbers, colour: colourOf(name, k), dash: DASHES[k % DASHES.length] }));
  const ofName = (name, k, stream = name.split(", ").at(-1)) => palette.ofStream(stream) ?? palette.ofLine(k);
  const recalls = Object.fromEntries(scene.classes.map((name, k) => [name, (recall ?? []).map((of) => of[k])]));
  const target = [{ name: "target", values: mean, sd, colour: palette.ofSide("target") }];
  const level = baseline && { name: baseline.title, values: values.map(() => baseline.top1), colour: palette.grey };
  if (level) target.push({ ...level, dash: "6 4" });
  return [
    { title: "Accuracy on the target", unit: "%", note: sd?.some(Number.isFinite) ? `band: ± sd over ${over}` : over,
      lines: target },
    { title: "Scores without labels", unit: "each on its own scale", own: true, lines: lines(scores, ofName) },
    { title: "How often the opponents are right", unit: "%", lines: lines(opponents, ofName) },
    { title: "Recall of each class", unit: "%", lines: lines(recalls, (name, k) => palette.ofClass(k)) },
  ].filter((chart) => chart.lines.some((line) => line.values.some(Number.isFinite)));
}
function makeSweep(explorer) { // the tab: choice of the sweep, slider over its values, charts
  const { scene, state } = explorer;
  const slide = () => explorer.sweepTo(Number(slider.value));
  const slider = h("input", { type: "range", min: 0, "aria-label": "Value", oninput: slide });
  const [value, note] = [h("output", { class: "value" }), h("span", { class: "faint" })];
  const charts = h("div", { class: "charts" });
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
