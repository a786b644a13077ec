// Reading the scene, and what is counted over its points. Nothing here touches the page.

const ARRAYS = { uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array };
const decodedArrays = new WeakMap();

/** The bytes that a text of letters 0..255 stands for. */
function bytesOfLetters(letters) {
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}
/** The bytes of a buffer or of a view of one, not copied. */
const bytesOfBuffer = (buffer) => (ArrayBuffer.isView(buffer)
  ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer));
/** The typed array of an entry of the scene, decoded once; null where it is missing. */
function decode(entry) {
  if (!entry) return null;
  if (!decodedArrays.has(entry)) {
    const bytes = entry.buffer ? bytesOfBuffer(entry.buffer).slice() : bytesOfLetters(atob(entry.base64));
    decodedArrays.set(entry, new ARRAYS[entry.dtype](bytes.buffer));
  }
  return decodedArrays.get(entry);
}
/** The scene with its numbers at hand: N points, P panels (one of each stream), K classes. */
function openScene(scene) {
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
/** A class, or a word for a missing label (-1) and for an output that no class has (K and above). */
const className = (scene, k) => (k < 0 ? "unknown" : scene.classes[k] ?? "no class");
/** Number of a class, with unknown labels as one more class. */
const classCode = (scene, k) => (k < 0 ? scene.K : k);
/** Where a clip is from and what it shows. */
const describe = (scene, n) => `${scene.domains[scene.domain[n]].name}, class ${className(scene, scene.label[n])}`;

/** Counts [true class][predicted class]; the last column is of no class. Unknown labels are left out. */
function confusionOf(rows, label, predicted, K) {
  const counts = Array.from({ length: K }, () => new Array(K + 1).fill(0));
  for (const n of rows) if (label[n] >= 0) counts[label[n]][Math.min(predicted[n], K)] += 1;
  return counts;
}
/** Share of labelled rows that a stream has right; null without any. */
function accuracyOf(rows, label, predicted) {
  const labelled = rows.filter((n) => label[n] >= 0);
  return labelled.length ? labelled.filter((n) => label[n] === predicted[n]).length / labelled.length : null;
}
/** Share of the rows' nearest neighbours that are of their own domain; null without neighbours. */
function ownDomainShare(rows, near, domain) {
  const width = near ? near.length / domain.length : 0;
  let [own, all] = [0, 0];
  for (const n of rows) {
    for (let k = n * width; k < (n + 1) * width; k++) {
      if (near[k] >= 0) all += 1;
      if (near[k] >= 0 && domain[near[k]] === domain[n]) own += 1;
    }
  }
  return all ? own / all : null;
}
/** Counts [domain][class]; the last class is of unknown labels. */
function histogramOf(rows, scene) {
  const counts = scene.domains.map(() => new Array(scene.K + 1).fill(0));
  for (const n of rows) counts[scene.domain[n]][classCode(scene, scene.label[n])] += 1;
  return counts;
}
/** Count, accuracy and share of neighbours of the own domain, by stream and domain. */
function numbersOf(rows, scene, view) {
  const inside = scene.domains.map((_, d) => rows.filter((n) => scene.domain[n] === d));
  const byDomain = (rule) => Object.fromEntries(scene.domains.map(({ name }, d) => [name, rule(inside[d])]));
  const byStream = (rule) => Object.fromEntries(scene.panels.map(({ key }, p) => [key, byDomain((of) => rule(of, p))]));
  return {
    count: byDomain((of) => of.length),
    accuracy: byStream((of, p) => accuracyOf(of, scene.label, ofStream(scene, view.predicted, p))),
    ownDomain: byStream((of, p) =>
      ownDomainShare(of, ofStream(scene, view.near, p, view.near?.shape[2]), scene.domain)),
  };
}
/** Each stream's vote in words, and whether the fused stream lost or won what the others had. */
function votesOf(scene, view, n) {
  const label = scene.label[n];
  const votes = scene.panels.map(({ key, title }, p) => {
    const predicted = ofStream(scene, view.predicted, p)[n];
    return { fused: key === "fused", title, right: predicted === label, word: className(scene, predicted) };
  }).sort((a, b) => a.fused - b.fused);
  const single = votes.filter(({ fused }) => !fused);
  const verdict = ({ fused, right }) => {
    if (label < 0) return "";
    if (fused && right && single.length && !single.some((vote) => vote.right)) return ", won it";
    if (fused && !right && single.some((vote) => vote.right)) return ", lost it";
    return right ? ", right" : "";
  };
  return votes.map((vote) => `${vote.title}: ${vote.word}${verdict(vote)}`).join("; ");
}
