// What a colour means, and how points are told apart by it; the colours themselves come with the scene.
const DASHES = ["", "7 4", "2 3", "7 3 2 3", "12 4"];
const COLOURINGS = { domain: "domain", class: "class", prediction: "prediction", right: "right or wrong",
  confidence: "confidence", flipped: "flipped by adaptation" };

/** The scene's colours on a page's ground: lighter on a dark one, fainter in a second cycle. */
function makePalette(ground, ink, { sides, streams, cycle, more, less, deep }) {
  const dark = isDark(ground);
  const lift = (colour, share = 0.35) => (dark ? mix(colour, "#FFFFFF", share) : colour);
  const faded = (colour, turn) => mix(lift(colour), ground, Math.min(0.6, 0.35 * turn));
  return {
    dark, ground, ink, grey: mix(ink, ground, 0.5), dim: mix(ink, ground, dark ? 0.78 : 0.86),
    more: lift(more, 0.45), less: lift(less, 0.3), deep: deep[Number(dark)],
    ofClass: (k) => faded(cycle[k % cycle.length], Math.floor(k / cycle.length)),
    ofSide: (side, turn = 0) => faded(sides[side] ?? sides.source, turn),
    ofStream: (key) => streams[key] && lift(streams[key], 0.15), ofLine: (k) => lift(cycle[k % cycle.length]),
  };
}
/** Colour of each domain: that of its side, fainter for a second one of the same side. */
const domainColours = ({ domains }, palette) => domains.map(({ side }, d) =>
  palette.ofSide(side, domains.slice(0, d).filter((other) => other.side === side).length));
const shapeOf = (domain) => (domain.side === "target" ? "diamond" : "disc"); // shape of a domain's marks
function cellColours(t, palette, isDifference) { // text and ground of a cell that holds the share t (-1..1) of a scale
  const end = isDifference ? (t < 0 ? palette.less : palette.more) : palette.deep;
  const ground = mix(palette.ground, end, Math.min(1, Math.abs(t)));
  return { ground, text: isDark(ground) ? "#FFFFFF" : "#000000" };
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
