// Reading the scene, and what is counted over its points. Nothing here touches the page.

const ARRAY_TYPES = {
  uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array,
};
const decodedArrays = new WeakMap();

/** The bytes of base64 text. */
function bytesOfText(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}

/** The bytes of a buffer or of a view of one, not copied. */
function bytesOfBuffer(buffer) {
  return ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
}

/** The typed array of an entry of the scene, decoded once; null where it is missing. */
function decode(entry) {
  if (!entry) return null;
  if (!decodedArrays.has(entry)) {
    const bytes = entry.buffer ? bytesOfBuffer(entry.buffer).slice() : bytesOfText(entry.base64);
    decodedArrays.set(entry, new ARRAY_TYPES[entry.dtype](bytes.buffer));
  }
  return decodedArrays.get(entry);
}

/** The scene with its numbers at hand: N points, P panels (one of each stream), K classes. */
function openScene(scene) {
  const { uid, domain, label } = scene.points;
  const N = uid.length;
  return {
    ...scene,
    N,
    P: scene.panels.length,
    K: scene.classes.length,
    uids: uid,
    domain: decode(domain) ?? new Uint8Array(N),
    label: decode(label) ?? new Int16Array(N).fill(-1),
    rowOf: new Map(uid.map((name, row) => [name, row])),
  };
}

/** What an entry holds of stream p, `width` numbers a point; null where it is missing. */
function ofStream(scene, entry, p, width = 1) {
  const size = scene.N * width;
  return decode(entry)?.subarray(p * size, (p + 1) * size) ?? null;
}

/** Name of a class, or a word for a missing label (-1) and for an output that no class has (K and above). */
function className(scene, k) {
  if (k < 0) return "unknown";
  return k < scene.K ? scene.classes[k] : "no class";
}

/** Class index with unknown labels counted as one more class. */
function classCode(scene, k) {
  return k < 0 || k >= scene.K ? scene.K : k;
}

/** Rows for which a mask is set. */
function rowsOf(mask) {
  const rows = [];
  for (let row = 0; row < mask.length; row++) if (mask[row]) rows.push(row);
  return rows;
}

/** Counts [true class][predicted class]; the last column is of outputs that no class has. Unknown labels are left out. */
function confusionOf(rows, label, predicted, K) {
  const counts = Array.from({ length: K }, () => new Array(K + 1).fill(0));
  for (const row of rows) if (label[row] >= 0) counts[label[row]][Math.min(predicted[row], K)] += 1;
  return counts;
}

/** Share of labelled rows that a stream has right; null without any. */
function accuracyOf(rows, label, predicted) {
  let right = 0;
  let labelled = 0;
  for (const row of rows) {
    if (label[row] < 0) continue;
    labelled += 1;
    if (label[row] === predicted[row]) right += 1;
  }
  return labelled ? right / labelled : null;
}

/** Share of the rows' nearest neighbours that are of their own domain; null without neighbours. */
function ownDomainShare(rows, near, domain) {
  if (!near) return null;
  const width = near.length / domain.length;
  let own = 0;
  let all = 0;
  for (const row of rows) {
    for (let k = row * width; k < (row + 1) * width; k++) {
      if (near[k] < 0) continue;
      all += 1;
      if (domain[near[k]] === domain[row]) own += 1;
    }
  }
  return all ? own / all : null;
}

/** Counts [domain][class]; the last class is of unknown labels. */
function histogramOf(rows, scene) {
  const counts = scene.domains.map(() => new Array(scene.K + 1).fill(0));
  for (const row of rows) counts[scene.domain[row]][classCode(scene, scene.label[row])] += 1;
  return counts;
}

/** Count, accuracy and share of neighbours of the own domain, by domain and stream. */
function numbersOf(rows, scene, view) {
  const empty = () => Object.fromEntries(scene.panels.map(({ key }) => [key, {}]));
  const numbers = { count: {}, accuracy: empty(), ownDomain: empty() };
  scene.domains.forEach(({ name }, d) => {
    const inside = rows.filter((row) => scene.domain[row] === d);
    numbers.count[name] = inside.length;
    scene.panels.forEach(({ key }, p) => {
      numbers.accuracy[key][name] = accuracyOf(inside, scene.label, ofStream(scene, view.predicted, p));
      numbers.ownDomain[key][name] = ownDomainShare(inside, ofStream(scene, view.near, p, view.near?.shape[2]), scene.domain);
    });
  });
  return numbers;
}

/** Each stream's vote in words, and whether the fused stream lost or won what the others had. */
function votesOf(scene, view, row) {
  const label = scene.label[row];
  const votes = scene.panels.map(({ key, title }, p) => {
    const predicted = ofStream(scene, view.predicted, p)[row];
    return { fused: key === "fused", title, right: predicted === label, word: className(scene, predicted) };
  });
  const single = votes.filter((vote) => !vote.fused);
  return [...single, ...votes.filter((vote) => vote.fused)].map((vote) => {
    let verdict = label >= 0 && vote.right ? ", right" : "";
    if (label >= 0 && vote.fused && single.length && single.some((each) => each.right) !== vote.right) {
      verdict = vote.right ? ", won it" : ", lost it";
    }
    return `${vote.title}: ${vote.word}${verdict}`;
  }).join("; ");
}
