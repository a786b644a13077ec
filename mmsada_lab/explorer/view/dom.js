// Building elements. Data reaches the page as text and attributes only, so that a name is never read as markup.
function dress(element, attributes, children) { // attributes (functions listen to the event after "on"), children
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if ((value ?? false) !== false || name.startsWith("aria-")) element.setAttribute(name, String(value));
  }
  element.append(...wanted(children));
  return element;
}
/** Children as one list, without those that a condition left out. */
const wanted = (children) => children.flat(Infinity).filter((child) => child !== null && child !== false);
const h = (tag, attributes = {}, ...children) => dress(document.createElement(tag), attributes, children); // HTML
/** An SVG element. */
const svg = (tag, attributes = {}, ...children) =>
  dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
function refill(container, ...children) { // new children; the focus stays on the child with the same data-key
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  container.replaceChildren(...wanted(children));
  if (!focused) return;
  const same = [...container.querySelectorAll("[data-key]")].find((each) => each.dataset.key === focused);
  (same ?? container.querySelector("[data-key]"))?.focus();
}
/** A button with a text. */
const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);
const section = (title, more = {}) => h("section", { class: "part", "aria-label": title, ...more }); // of the side
function fillChoice(list, options, chosen) { // new options [value, text, disabled] for a select
  list.replaceChildren(...options.map(([value, text, disabled = false]) => h("option", { value, disabled }, text)));
  list.value = chosen;
}
function choice(name, options, chosen, onchange) { // a select with its name beside it
  const list = h("select", { onchange: () => onchange(list.value) });
  fillChoice(list, options, chosen);
  return h("label", { class: "field" }, h("span", {}, name), list);
}
/** A question mark (or another text) that unfolds an explanation. */
const help = (label, paragraphs, sign = "?") => h("details", { class: "help" },
  h("summary", { "aria-label": label, title: label }, sign), h("div", {}, paragraphs.map((text) => h("p", {}, text))));
const percent = (share) => (Number.isFinite(share) ? `${Math.round(100 * share)} %` : "–"); // a share, or a dash
const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ","); // a number with thousands set apart
