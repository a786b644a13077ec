// What a colour means: the project's palette, and how points are told apart by it.

const SIDES = { source: "#0072B2", target: "#D55E00" };
const STREAMS = { rgb: "#009E73", flow: "#E69F00", audio: "#CC79A7" };
const CYCLE = ["#96005A", "#78870F", "#7887FF", "#872D0F", "#C396E1", "#96B478", "#783CA5", "#96694B"];
const MORE = "#542788"; // purple: more, right, gained
const LESS = "#B35806"; // brown: fewer, wrong, lost
const DEEP = "#08306B"; // end of the scale of percent
const DASHES = ["", "7 4", "2 3", "7 3 2 3", "12 4"];

const COLOURINGS = {
  domain: "domain",
  class: "class",
  prediction: "prediction",
  right: "right or wrong",
  confidence: "confidence",
  flipped: "flipped by adaptation",
};

/** The colours of a page: lighter ones on a dark ground. */
function makePalette(ground, ink) {
  const dark = lightness(ground) < 0.5;
  const lift = (colour, share = 0.35) => (dark ? mix(colour, "#FFFFFF", share) : colour);
  const faded = (colour, turn) => mix(lift(colour), ground, Math.min(0.6, 0.35 * turn));
  return {
    dark,
    ground,
    ink,
    grey: mix(ink, ground, 0.5),
    dim: mix(ink, ground, dark ? 0.78 : 0.86),
    more: lift(MORE, 0.45),
    less: lift(LESS, 0.3),
    deep: dark ? "#9ECAE1" : DEEP,
    ofClass: (k) => faded(CYCLE[k % CYCLE.length], Math.floor(k / CYCLE.length)),
    ofSide: (side, turn = 0) => faded(SIDES[side] ?? SIDES.source, turn),
    ofStream: (key) => (STREAMS[key] ? lift(STREAMS[key], 0.15) : ink),
    ofLine: (k) => lift(CYCLE[k % CYCLE.length]),
  };
}

/** Colour of each domain: that of its side, fainter for a second one of the same side. */
function domainColours(scene, palette) {
  const seen = {};
  return scene.domains.map(({ side }) => {
    seen[side] = (seen[side] ?? -1) + 1;
    return palette.ofSide(side, seen[side]);
  });
}

/** Text and background of a cell that holds the share t (-1..1) of a scale. */
function cellColours(t, palette, difference) {
  const end = difference ? (t < 0 ? palette.less : palette.more) : palette.deep;
  const ground = mix(palette.ground, end, Math.min(1, Math.abs(t)));
  return { ground, text: lightness(ground) < 0.55 ? "#FFFFFF" : "#1A1A1A" };
}

/** The entries of a way to colour points, and the code (number of the entry) of each point in panel p. */
function colouring(key, scene, view, reference, palette) {
  const { N, K, label } = scene;
  const predicted = (p, of = view) => ofStream(scene, of.predicted, p);
  const codes = (rule) => Uint16Array.from({ length: N }, (_, n) => rule(n));
  const classes = (last) => [...scene.classes, last].map((name, k) => ({
    label: name, colour: k < K ? palette.ofClass(k) : palette.grey,
  }));
  const unknown = { label: "unknown", colour: palette.grey };
  switch (key) {
    case "class":
      return { entries: classes("unknown"), codes: () => codes((n) => classCode(scene, label[n])) };
    case "prediction":
      return {
        entries: classes("no class"),
        codes: (p) => { const of = predicted(p); return codes((n) => Math.min(of[n], K)); },
      };
    case "right":
      return {
        entries: [{ label: "right", colour: palette.more }, { label: "wrong", colour: palette.less }, unknown],
        codes: (p) => {
          const of = predicted(p);
          return codes((n) => (label[n] < 0 ? 2 : Number(of[n] !== label[n])));
        },
      };
    case "confidence":
      return {
        entries: [0, 1, 2, 3, 4].map((bin) => ({
          label: `${20 * bin}–${20 * bin + 20} %`,
          colour: mix(mix(palette.ground, palette.deep, 0.2), palette.deep, bin / 4),
        })),
        codes: (p) => {
          const of = ofStream(scene, view.confidence, p);
          return codes((n) => quantise(of[n] / 255, 5));
        },
      };
    case "flipped":
      return {
        entries: [
          { label: "gained", colour: palette.more },
          { label: "lost", colour: palette.less },
          { label: "both right", colour: mix(palette.ink, palette.ground, 0.4) },
          { label: "both wrong", colour: mix(palette.ink, palette.ground, 0.72) },
          unknown,
        ],
        codes: (p) => {
          const [here, there] = [predicted(p), predicted(p, reference)];
          return codes((n) => {
            if (label[n] < 0) return 4;
            if (here[n] === label[n]) return there[n] === label[n] ? 2 : 0;
            return there[n] === label[n] ? 1 : 3;
          });
        },
      };
    default: {
      const colours = domainColours(scene, palette);
      return {
        entries: scene.domains.map(({ name }, d) => ({ label: name, colour: colours[d] })),
        codes: () => scene.domain,
      };
    }
  }
}
