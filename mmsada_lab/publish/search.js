// Search in the texts of all pages: #texts holds [[page, title, [[anchor, heading, text], ...]], ...]. No network.
const field = document.querySelector("#search input"), places = document.querySelector("#places");
const status = document.querySelector("#search [role=status]");
const MOST = 20, AROUND = 70;
const GREEK = { α: "alpha", γ: "gamma", λ: "lambda", ν: "nu", ρ: "rho", σ: "sigma", ℓ: "l" };
const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const fold = (text) => plain(text).replace(/[αγλνρσℓ]/g, (letter) => GREEK[letter]);

const sections = JSON.parse(document.getElementById("texts").textContent).flatMap(([page, title, entries]) =>
  entries.map(([anchor, heading, text]) => {
    const folded = { title: fold(title), heading: fold(heading), text: fold(text) };
    return { page, title, anchor, heading, text, folded };
  }));

function score({ folded }, words) { // 0 where a word is lacking; headings count more than text
  let sum = 0;
  for (const word of words) {
    const times = folded.text.split(word).length - 1;
    const points = 8 * folded.heading.includes(word) + 4 * folded.title.includes(word) + Math.min(times, 5);
    if (!points) return 0;
    sum += points;
  }
  return sum;
}

function excerpt(text, words) { // the text around the first word, cut at spaces
  const at = Math.max(0, Math.min(...words.map((word) => plain(text).indexOf(word)).map((n) => (n < 0 ? 1e9 : n))));
  if (at === 1e9) return text.slice(0, 2 * AROUND) + (text.length > 2 * AROUND ? " …" : "");
  const from = at > AROUND ? text.indexOf(" ", at - AROUND) + 1 : 0;
  const end = text.indexOf(" ", at + AROUND);
  return (from ? "… " : "") + text.slice(from, end < 0 ? undefined : end) + (end < 0 ? "" : " …");
}

function marked(text, words) { // nodes, so that nothing of a text is read as HTML
  const nodes = [], lower = plain(text);
  if (lower.length !== text.length) return [text];
  for (let at = 0; at < text.length;) {
    const hits = words.map((word) => [lower.indexOf(word, at), word.length]).filter(([n]) => n >= 0).sort((a, b) => a[0] - b[0]);
    const [start, length] = hits[0] ?? [text.length, 0];
    nodes.push(text.slice(at, start));
    if (length) nodes.push(Object.assign(document.createElement("mark"), { textContent: text.slice(start, start + length) }));
    at = start + length;
  }
  return nodes;
}

function entry({ page, title, anchor, heading, text }, words) {
  const link = Object.assign(document.createElement("a"), { href: `${page}#${encodeURIComponent(anchor)}` });
  const name = document.createElement("strong"), where = document.createElement("span");
  name.append(...marked(heading, words));
  where.textContent = heading === title ? "" : ` in ${title}`;
  const around = document.createElement("p");
  around.append(...marked(excerpt(text, words), words));
  link.append(name, where, around);
  const item = document.createElement("li");
  item.append(link);
  return item;
}

function search() {
  const words = [...new Set(fold(field.value).split(/\s+/).filter(Boolean))];
  const ranked = sections.map((section) => [score(section, words), section]).filter(([points]) => words.length && points);
  ranked.sort((a, b) => b[0] - a[0]); // equal ones stay in the order of the pages
  places.replaceChildren(...ranked.slice(0, MOST).map(([, section]) => entry(section, words)));
  const more = ranked.length > MOST ? `, the first ${MOST} are shown` : "";
  const count = ranked.length === 1 ? "1 place" : `${ranked.length || "no"} places`;
  status.textContent = words.length ? `${count}${more}` : "";
}

function step(event) { // arrows go through the field and the links, Escape back to an empty field
  const stops = [field, ...places.querySelectorAll("a")], at = stops.indexOf(document.activeElement);
  if (event.key === "Escape") {
    field.value = "";
    search();
    field.focus();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    stops[Math.min(stops.length - 1, Math.max(0, at + (event.key === "ArrowDown" ? 1 : -1)))].focus();
  } else return;
  event.preventDefault();
}

const form = document.querySelector("#search");
form.addEventListener("submit", (event) => { event.preventDefault(); places.querySelector("a")?.click(); });
form.addEventListener("keydown", step);
field.addEventListener("input", search);
search(); // the browser may have kept what was typed
