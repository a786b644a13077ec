"""The one skeleton of the HTML pages the package writes: reports, segments, the gallery. A page needs no network."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

# Values are escaped wherever a template shows them; HTML made elsewhere (a figure) is handed over as `Markup`.
_TEMPLATES = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_PAGE = _TEMPLATES.from_string("""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{% if policy %}
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
{% endif %}
<title>{{ title }}</title>
<style>
:root { --ground: #fff; --ink: #222; --faint: #5f5f5f; --line: #ddd; --wash: #f5f6f8; --link: #005a8e; --warn: #b34e00;
  color-scheme: light; }
@media (prefers-color-scheme: dark) { :root { --ground: #191919; --ink: #e6e6e6; --faint: #a5a5a5; --line: #3a3a3a;
  --wash: #242424; --link: #7cc4f0; --warn: #ff9d57; color-scheme: dark; } }
body { font: 15px/1.5 Helvetica, Arial, sans-serif; background: var(--ground); color: var(--ink); max-width: 1150px;
  margin: 2em auto; padding: 0 1em; }
a { color: var(--link); }
{{ style }}
</style></head>
<body>
<main>
<h1>{{ title }}</h1>
{{ content }}
</main>
</body>
</html>
""")


def render_page(title: str, template: str, values: Mapping[str, object], *, style: str = "", policy: str = "") -> str:
    """Render a whole page: the heading `title`, then a Jinja2 template; text among its values is escaped, `Markup` not.

    `style` is CSS beside that of all pages; `policy` says what the page may load and run (Content-Security-Policy).

    Example:
        >>> "<p>2 &lt; 3</p>" in render_page("Numbers", "<p>{{ fact }}</p>", {"fact": "2 < 3"})
        True
    """
    content = Markup(_TEMPLATES.from_string(template).render(values))
    return _PAGE.render(title=title, style=Markup(style), content=content, policy=policy) + "\n"
