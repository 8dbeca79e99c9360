"""A page of its own with figures, a key to them and the anomalies in words; it opens from a disk, with no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bokeh.embed import file_html
from bokeh.resources import INLINE

from almenara.plot.figures import MARKERS, draw
from almenara.plot.panel import LIGHT, Panel

#: Characters of the key, of the shapes that MARKERS names.
_SHAPES = {"circle": "●", "triangle": "▲", "diamond": "◆", "star": "★"}

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: %(surface)s; color: %(ink)s; font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; overflow-x: clip; padding: 16px clamp(12px, 3vw, 32px) 48px; }
h1 { font-size: 1.4rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 24px 0 8px; }
p { margin: 0 0 8px; max-width: 75ch; }
.key { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0 12px; padding: 0; list-style: none;
       color: %(muted)s; font-size: .9rem; }
.key b { font-weight: 400; margin-right: 5px; }
.key i { display: inline-block; width: 22px; height: 0; margin-right: 6px; vertical-align: middle;
         border-top: 2px solid %(data)s; }
.key i.yhat { border-top-style: dashed; opacity: .62; }
.key i.band { height: 10px; border: 0; background: %(data)s; opacity: .16; }
.rows { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid %(grid)s; vertical-align: top; }
th { color: %(muted)s; font-weight: 600; }
td:first-child { white-space: nowrap; }
td { overflow-wrap: break-word; }
@media (max-width: 600px) {
  thead { display: none; }
  table, tbody { display: block; }
  tr { display: block; padding: 8px 0; border-bottom: 1px solid %(grid)s; }
  td, td:first-child { display: inline; padding: 0; border: 0; white-space: normal; overflow-wrap: anywhere; }
  td[data-head]::before { content: attr(data-head) " "; color: %(muted)s; }
  td:not(:last-child):not(:nth-last-child(2))::after { content: " · "; color: %(muted)s; }
  td:last-child { display: block; }
}
"""

#: Bokeh puts what it extends before it.
_TEMPLATE = """{% block postamble %}<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{{ style }}</style>
{% endblock %}
{% block contents %}<main><h1>{{ heading }}</h1>{{ before }}{{ super() }}{{ after }}</main>{% endblock %}
"""


def page_html(
    panels: Sequence[Panel],
    *,
    title: str,
    lead: Sequence[str] = (),
    heads: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
    table_title: str = "",
) -> str:
    """Figures below each other, on one time axis, as wide as the window.

    lead: paragraphs above them. heads, rows: a table below them, if there are rows. Raises ValueError for no panel and
    for columns that differ in length.
    """
    before = "".join(f"<p>{escape(one)}</p>" for one in lead) + _key(panels)
    after = _table(table_title, heads, rows) if rows else ""
    style = _STYLE % {name: getattr(LIGHT, name) for name in ("surface", "ink", "muted", "data", "grid")}
    variables = {"style": style, "heading": escape(title), "before": before, "after": after}
    drawn = draw(panels, stretch=True)
    return str(file_html(drawn, INLINE, title, template=_TEMPLATE, template_variables=variables))


def _key(panels: Sequence[Panel]) -> str:
    parts = ["<i></i>value"]
    if any(panel.lower is not None for panel in panels):
        parts += ['<i class="yhat"></i>expected', '<i class="band"></i>usual range']
    parts += [
        f'<b style="color:{LIGHT.severity[severity]}">{_SHAPES[shape]}</b>{severity}'
        for severity, shape in MARKERS.items()
    ]
    return f'<ul class="key">{"".join(f"<li>{part}</li>" for part in parts)}</ul>'


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(map(_cell, heads, row))}</tr>" for row in rows)
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f'{heading}<div class="rows"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(head: str, text: str) -> str:
    """On a phone, where there is no row of heads, a number has its head before it."""
    number = text.replace(",", "").replace(".", "").isdigit()
    about = f' data-head="{escape(head)}"' if number else ""
    return f"<td{about}>{escape(text)}</td>"
