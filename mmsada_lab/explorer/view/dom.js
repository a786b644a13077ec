// Building elements. Data reaches the page as text and attributes only, so that a name is never read as markup.

/** Gives an element its attributes (functions listen to the event after "on") and its children. */
function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...wanted(children));
  return element;
}
/** Children as one list, without those that a condition left out. */
const wanted = (children) => children.flat(Infinity).filter((child) => child !== null && child !== false);
/** An HTML element. */
const h = (tag, attributes = {}, ...children) => dress(document.createElement(tag), attributes, children);
/** An SVG element. */
const svg = (tag, attributes = {}, ...children) =>
  dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
/** Puts new children into a container; the keyboard's focus stays on the child with the same data-key. */
function refill(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  container.replaceChildren(...wanted(children));
  if (!focused) return;
  [...container.querySelectorAll("[data-key]")].find((each) => each.dataset.key === focused)?.focus();
}
/** A button with a text. */
const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);
/** A titled part of the side column. */
const section = (title, more = {}) => h("section", { class: "part", "aria-label": title, ...more });
/** New options [value, text, disabled] for a select. */
function fillChoice(list, options, chosen) {
  list.replaceChildren(...options.map(([value, text, disabled = false]) => h("option", { value, disabled }, text)));
  list.value = chosen;
}
/** A select with its name beside it. */
function choice(name, options, chosen, onchange) {
  const list = h("select", { onchange: () => onchange(list.value) });
  fillChoice(list, options, chosen);
  return h("label", { class: "field" }, h("span", {}, name), list);
}
/** A question mark (or another text) that unfolds an explanation. */
const help = (label, paragraphs, sign = "?") => h("details", { class: "help" },
  h("summary", { "aria-label": label, title: label }, sign), h("div", {}, paragraphs.map((text) => h("p", {}, text))));
/** A share as whole percent, a dash where there is none. */
const percent = (share) => (Number.isFinite(share) ? `${Math.round(100 * share)} %` : "–");
/** A number with thousands set apart. */
const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");
