"""Where the words of a drawn figure lie: none outside it, none on another, none crossed by an error bar.

Boxes are those of the browser, of turned text too: each is a quadrilateral, and two of them meet unless a line along
one of their sides parts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 900

DRAW = """async ([figure, width, height]) => {
  const div = document.body.appendChild(document.createElement("div"));
  div.style.cssText = `width:${width}px;height:${height}px`;
  await Plotly.newPlot(div, figure.data, figure.layout, { responsive: false });
  const faults = window.faultsOf(div);
  Plotly.purge(div);
  div.remove();
  return faults;
}"""

MEASURE = r"""
window.faultsOf = (div) => {
  const SLACK = 1.5;  // of a box that the letters do not fill
  const corners = (element) => {
    const box = element.getBBox(), to = element.getScreenCTM();
    const x = [box.x + SLACK / 2, box.x + box.width - SLACK / 2];
    const y = [box.y + box.height * 0.18, box.y + box.height * 0.86];  // from the letters' top to their base
    return [[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]]].map(([a, b]) => [
      to.a * a + to.c * b + to.e, to.b * a + to.d * b + to.f]);
  };
  const parted = (one, other) => {
    for (const [a, b] of [[one[0], one[1]], [one[1], one[2]], [other[0], other[1]], [other[1], other[2]]]) {
      const axis = [b[0] - a[0], b[1] - a[1]];
      const along = (shape) => shape.map(([x, y]) => x * axis[0] + y * axis[1]);
      const [p, q] = [along(one), along(other)];
      if (Math.max(...p) <= Math.min(...q) || Math.max(...q) <= Math.min(...p)) return true;
    }
    return false;
  };
  const seen = (element) => {
    const style = getComputedStyle(element);
    return style.display !== "none" && style.visibility !== "hidden" && element.getBoundingClientRect().width > 0
      && !element.closest("defs") && element.getScreenCTM() && Number(style.opacity) > 0.05;
  };
  const kind = (element) => {
    const named = element.closest("[class*=title], [class*=tick], .annotation, .textpoint, .cbaxis");
    return element.closest(".legend") ? "legend" : element.classList[0] ?? named?.classList?.[0] ?? "text";
  };
  const all = [...div.querySelectorAll("svg text")].filter((t) => t.textContent.trim() && seen(t));
  const texts = all.filter((t) => !t.closest(".modebar, .hoverlayer"))
    .map((t) => ({ words: t.textContent.trim(), kind: kind(t), box: corners(t) }));
  const frame = div.getBoundingClientRect();
  const faults = [];
  for (const text of texts) {
    const [x, y] = [text.box.map((c) => c[0]), text.box.map((c) => c[1])];
    const over = Math.max(frame.left - Math.min(...x), Math.max(...x) - frame.right, frame.top - Math.min(...y),
      Math.max(...y) - frame.bottom);
    if (over > 1) faults.push(`cut by ${over.toFixed(0)} px: "${text.words}" (${text.kind})`);
  }
  for (let i = 0; i < texts.length; i++)
    for (let k = i + 1; k < texts.length; k++)
      if (!parted(texts[i].box, texts[k].box))
        faults.push(`"${texts[i].words}" (${texts[i].kind}) on "${texts[k].words}" (${texts[k].kind})`);
  for (const bar of div.querySelectorAll(".errorbar path")) {
    const r = bar.getBoundingClientRect();
    if (!r.height && !r.width) continue;
    const middle = (r.left + r.right) / 2, level = (r.top + r.bottom) / 2;
    const line = r.height >= r.width
      ? [[middle - 0.5, r.top], [middle + 0.5, r.top], [middle + 0.5, r.bottom], [middle - 0.5, r.bottom]]
      : [[r.left, level - 0.5], [r.right, level - 0.5], [r.right, level + 0.5], [r.left, level + 0.5]];
    for (const text of texts)
      if (!parted(line, text.box)) faults.push(`an error bar through "${text.words}" (${text.kind})`);
  }
  for (const bar of div.querySelectorAll(".legend .scrollbar")) {
    if (bar.getBoundingClientRect().height > 1) faults.push("the legend has to be scrolled");
  }
  return [...new Set(faults)];
};
"""


def measured_page(browser: Any) -> Any:
    """A page with Plotly in which figures can be drawn and measured."""
    from plotly.offline import get_plotlyjs

    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_content("<!DOCTYPE html><html lang='en'><body style='margin: 0'></body></html>")
    page.add_script_tag(content=get_plotlyjs())
    page.add_script_tag(content=MEASURE)
    return page


def faults_of(page: Any, figure: Mapping[str, Any], *, width: int = WIDTH) -> Sequence[str]:
    """Draw a figure and list what is cut and what collides, in words."""
    height = int(figure["layout"]["height"])
    drawn = {"data": figure["data"], "layout": {**figure["layout"], "width": width, "height": height}}
    return list(page.evaluate(DRAW, [drawn, width, height]))
