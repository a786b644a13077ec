// What a colour means: the project's palette, and how points are told apart by it.
const SIDES = { source: "#0072B2", target: "#D55E00" };
const STREAMS = { rgb: "#009E73", flow: "#E69F00", audio: "#CC79A7" };
const CYCLE = ["#96005A", "#78870F", "#7887FF", "#872D0F", "#C396E1", "#96B478", "#783CA5", "#96694B"];
const [MORE, LESS, DEEP] = ["#542788", "#B35806", "#08306B"]; // more, right, gained; fewer, wrong, lost; percent
const DASHES = ["", "7 4", "2 3", "7 3 2 3", "12 4"];
const COLOURINGS = {
  domain: "domain", class: "class", prediction: "prediction", right: "right or wrong", confidence: "confidence",
  flipped: "flipped by adaptation",
};

function makePalette(ground, ink) { // the colours of a page: lighter on a dark ground, fainter in a second cycle
  const dark = lightness(ground) < 0.5;
  const lift = (colour, share = 0.35) => (dark ? mix(colour, "#FFFFFF", share) : colour);
  const faded = (colour, turn) => mix(lift(colour), ground, Math.min(0.6, 0.35 * turn));
  return {
    dark, ground, ink, grey: mix(ink, ground, 0.5), dim: mix(ink, ground, dark ? 0.78 : 0.86),
    more: lift(MORE, 0.45), less: lift(LESS, 0.3), deep: dark ? "#9ECAE1" : DEEP,
    ofClass: (k) => faded(CYCLE[k % CYCLE.length], Math.floor(k / CYCLE.length)),
    ofSide: (side, turn = 0) => faded(SIDES[side] ?? SIDES.source, turn),
    ofStream: (key) => STREAMS[key] && lift(STREAMS[key], 0.15),
    ofLine: (k) => lift(CYCLE[k % CYCLE.length]),
  };
}
/** Colour of each domain: that of its side, fainter for a second one of the same side. */
const domainColours = ({ domains }, palette) => domains.map(({ side }, d) =>
  palette.ofSide(side, domains.slice(0, d).filter((other) => other.side === side).length));
const shapeOf = (domain) => (domain.side === "target" ? "diamond" : "disc"); // shape of a domain's marks
function cellColours(t, palette, isDifference) { // text and ground of a cell that holds the share t (-1..1) of a scale
  const end = isDifference ? (t < 0 ? palette.less : palette.more) : palette.deep;
  const ground = mix(palette.ground, end, Math.min(1, Math.abs(t)));
  return { ground, text: lightness(ground) < 0.46 ? "#FFFFFF" : "#1A1A1A" };
}
function colouring(key, scene, view, reference, palette) { // entries, and for panel p the entry of each point
  const { N, K, label } = scene;
  const colours = domainColours(scene, palette);
  const unknown = ["unknown", palette.grey];
  const classes = scene.classes.map((name, k) => [name, palette.ofClass(k)]);
  const predicted = (p, of = view) => ofStream(scene, of.predicted, p);
  const ways = {
    domain: [scene.domains.map(({ name }, d) => [name, colours[d]]), () => (n) => scene.domain[n]],
    class: [[...classes, unknown], () => (n) => classCode(scene, label[n])],
    prediction: [[...classes, ["no class", palette.grey], ["not kept", palette.grey]],
      (p, here = predicted(p)) => (n) => (here[n] < 0 ? K + 1 : Math.min(here[n], K))],
    right: [[["right", palette.more], ["wrong", palette.less], unknown],
      (p, here = predicted(p)) => (n) => (label[n] < 0 || here[n] < 0 ? 2 : Number(here[n] !== label[n]))],
    confidence: [[0, 1, 2, 3, 4].map((bin) =>
      [`${20 * bin}–${20 * bin + 20} %`, mix(palette.ground, palette.deep, 0.2 + 0.2 * bin)]),
    (p, of = ofStream(scene, view.confidence, p)) => (n) => quantise(of[n] / 255, 5)],
    flipped: [[["gained", palette.more], ["lost", palette.less], ["both right", mix(palette.ink, palette.ground, 0.4)],
      ["both wrong", mix(palette.ink, palette.ground, 0.72)], unknown],
    (p, here = predicted(p), there = predicted(p, reference ?? view)) => (n) => {
      if (label[n] < 0 || here[n] < 0 || there[n] < 0) return 4;
      if (here[n] === label[n]) return there[n] === label[n] ? 2 : 0;
      return there[n] === label[n] ? 1 : 3;
    }],
  };
  const [entries, rule] = ways[key];
  return {
    entries: entries.map(([text, colour]) => ({ label: text, colour })),
    codes: (p) => { const code = rule(p); return Uint16Array.from({ length: N }, (_, n) => code(n)); },
  };
}
