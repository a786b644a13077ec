// Building elements. Data reaches the page as text and attributes only, so that a name is never read as markup.

/** Gives an element its attributes (functions listen to the event after "on") and its children. */
function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element. */
function h(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function svg(tag, attributes = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** Puts new children into a container; the keyboard's focus stays on the child with the same data-key. */
function refill(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  container.replaceChildren(...children.flat().filter(Boolean));
  if (focused !== undefined) {
    [...container.querySelectorAll("[data-key]")].find((each) => each.dataset.key === focused)?.focus();
  }
}

/** A button with a text. */
function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

/** A button that stays down while it is on. */
function toggle(text, on, onclick, attributes = {}) {
  return button(text, onclick, { "aria-pressed": on, ...attributes });
}

/** A select with its name beside it; options are [value, text, disabled]. */
function choice(name, options, chosen, onchange) {
  const list = h("select", { onchange: () => onchange(list.value) });
  fillChoice(list, options, chosen);
  return h("label", { class: "field" }, h("span", {}, name), list);
}

/** New options for a select. */
function fillChoice(list, options, chosen) {
  list.replaceChildren(...options.map(([value, text, disabled]) => h("option", { value, disabled }, text)));
  list.value = chosen;
}

/** A question mark that unfolds an explanation. */
function help(label, ...paragraphs) {
  const texts = paragraphs.map((text) => h("p", {}, text));
  return h("details", { class: "help" }, h("summary", { "aria-label": label, title: label }, "?"), h("div", {}, texts));
}

/** A share as whole percent, a dash where there is none. */
function percent(share) {
  return share === null || share === undefined || Number.isNaN(share) ? "–" : `${Math.round(100 * share)} %`;
}

/** A number with thousands set apart. */
function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}
