// Reading the scene, and what is counted over its points. Nothing here touches the page.
const ARRAYS = { uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array };
const decodedArrays = new WeakMap();
function bytesOfLetters(letters) { // the bytes that a text of letters 0..255 stands for
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}
/** The bytes of a buffer or of a view of one, not copied. */
const bytesOfBuffer = (buffer) => (ArrayBuffer.isView(buffer)
  ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer));
function decode(entry) { // the typed array of an entry of the scene, decoded once; null where it is missing
  if (!entry) return null;
  if (!decodedArrays.has(entry)) {
    const bytes = entry.buffer ? bytesOfBuffer(entry.buffer).slice() : bytesOfLetters(atob(entry.base64));
    decodedArrays.set(entry, new ARRAYS[entry.dtype](bytes.buffer));
  }
  return decodedArrays.get(entry);
}
function openScene(scene) { // the scene with its numbers at hand: N points, P panels (one of each stream), K classes
  const { uid: uids, domain, label } = scene.points;
  const N = uids.length;
  return {
    ...scene, N, P: scene.panels.length, K: scene.classes.length, uids, rowOf: new Map(uids.map((uid, n) => [uid, n])),
    domain: decode(domain) ?? new Uint8Array(N), label: decode(label) ?? new Int16Array(N).fill(-1),
  };
}
/** What an entry holds of stream p, `width` numbers a point; null where it is missing. */
const ofStream = (scene, entry, p, width = 1) =>
  decode(entry)?.subarray(p * scene.N * width, (p + 1) * scene.N * width) ?? null;
const className = (scene, k) => (k < 0 ? "unknown" : scene.classes[k] ?? "no class"); // -1: not known, not kept
const classCode = (scene, k) => (k < 0 ? scene.K : k); // number of a class, with unknown labels as one more class
/** Where a clip is from and what it shows. */
const describe = (scene, n) => `${scene.domains[scene.domain[n]].name}, class ${className(scene, scene.label[n])}`;

function confusionOf(rows, label, predicted, K) { // counts [true][predicted], last column: no class
  const counts = Array.from({ length: K }, () => new Array(K + 1).fill(0));
  for (const n of rows) if (label[n] >= 0 && predicted[n] >= 0) counts[label[n]][Math.min(predicted[n], K)] += 1;
  return counts;
}
function accuracyOf(rows, label, predicted) { // share of labelled rows that a stream has right; null without any
  const labelled = rows.filter((n) => label[n] >= 0 && predicted[n] >= 0); // -1: no prediction was kept
  return labelled.length ? labelled.filter((n) => label[n] === predicted[n]).length / labelled.length : null;
}
function ownDomainShare(rows, percents) { // share of the rows' nearest neighbours that are of their own domain
  return percents && rows.length ? rows.reduce((sum, n) => sum + percents[n], 0) / rows.length / 100 : null;
}
function histogramOf(rows, scene) { // counts [domain][class]; the last class is of unknown labels
  const counts = scene.domains.map(() => new Array(scene.K + 1).fill(0));
  for (const n of rows) counts[scene.domain[n]][classCode(scene, scene.label[n])] += 1;
  return counts;
}
function numbersOf(rows, scene, view, isStated = false) { // counts and shares by domain; accuracies as the view states
  const stated = (p, d) => isStated && view.accuracy?.[scene.panels[p].key]?.[scene.domains[d].name];
  const inside = scene.domains.map((_, d) => rows.filter((n) => scene.domain[n] === d));
  const byDomain = (rule) => Object.fromEntries(scene.domains.map(({ name }, d) => [name, rule(inside[d], d)]));
  const byStream = (rule) => Object.fromEntries(scene.panels.map(({ key }, p) =>
    [key, byDomain((of, d) => rule(of, p, d))]));
  return {
    count: byDomain((of) => of.length),
    accuracy: byStream((of, p, d) => (Number.isFinite(stated(p, d)) ? stated(p, d) / 100
      : accuracyOf(of, scene.label, ofStream(scene, view.predicted, p)))),
    ownDomain: byStream((of, p) => ownDomainShare(of, ofStream(scene, view.own, p))),
  };
}
function votesOf(scene, view, n) { // each stream's vote in words, and whether the fused stream lost or won it
  const label = scene.label[n];
  const votes = scene.panels.map(({ key, title }, p) =>
    ({ title, isFused: key === "fused", k: ofStream(scene, view.predicted, p)[n] }));
  const isHeld = votes.some(({ isFused, k }) => !isFused && k === label);
  const verdict = ({ isFused, k }) => {
    if (label < 0 || k < 0) return "";
    if (isFused && votes.length > 1 && isHeld !== (k === label)) return isHeld ? ", lost it" : ", won it";
    return k === label ? ", right" : "";
  };
  const inWords = (vote) => `${vote.title}: ${className(scene, vote.k)}${verdict(vote)}`;
  return votes.sort((a, b) => a.isFused - b.isFused).map(inWords).join("; ");
}
