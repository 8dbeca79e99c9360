"""Lanes of time: what lasted from when to when, one lane under the other, as plain HTML that fits any width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from html import escape

from almenara.model.time import DAY_NS, HOUR_NS, NS

#: Of one lane so many spans are drawn; more could not be told apart.
MOST_SPANS = 2000
STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fbfaf8; color: #1f2430; font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 16px clamp(12px, 3vw, 32px) 48px; }
h1 { font-size: 1.4rem; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 28px 0 8px; }
p { margin: 0 0 8px; max-width: 75ch; } .lead { font-size: 1.15rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 16px 0;
  padding: 0; }
.figures div { background: #fff; border: 1px solid #e3ddd3; border-radius: 8px; padding: 10px 14px; }
.figures dd { margin: 0; font-size: 1.6rem; font-weight: 700; } .figures dt { color: #5b6270; font-size: .9rem; }
.lanes { background: #fff; border: 1px solid #e3ddd3; border-radius: 8px; padding: 10px 14px 6px; }
.lane { position: relative; height: 26px; margin: 2px 0 10px; background: #f3efe8; border-radius: 4px;
  overflow: hidden; }
.lane i { position: absolute; top: 3px; bottom: 3px; min-width: 3px; border-radius: 2px; background: #8a5a00;
  box-shadow: inset 0 0 0 1px rgb(255 255 255 / 45%); }
.lane.ours i { background: #1d5f9e; } .lane i.alone { background: #b3261e; }
.lane-name { font-size: .9rem; color: #5b6270; }
.axis { display: flex; justify-content: space-between; color: #5b6270; font-size: .8rem; }
.axis span:nth-child(even) { display: var(--even, inline); }
.key { color: #5b6270; font-size: .9rem; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 2px;
       margin: 0 6px 0 12px; vertical-align: -1px; }
.rows { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; width: 100%; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid #e3ddd3; vertical-align: top; }
th { color: #5b6270; font-weight: 600; } td { overflow-wrap: anywhere; } td.when { white-space: nowrap; }
.limits { background: #fdf3d8; border: 1px solid #ecd9a4; border-radius: 8px; padding: 4px 18px 4px 32px; }
.limits li { margin: 8px 0; max-width: 80ch; }
@media (max-width: 600px) {
  :root { --even: none; } thead { display: none; } table, tbody, tr { display: block; }
  td { display: block; border: 0; padding: 1px 0; }
  td:not([data-head=""]):not(:empty)::before { content: attr(data-head) ": "; color: #5b6270; }
  tr { padding: 8px 0; border-bottom: 1px solid #e3ddd3; } td.when { white-space: normal; }
}
"""


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when (ns), what to say of it, and whether the other lane has nothing like it."""

    start: int
    end: int
    text: str
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane: its name and what is in it. ours: drawn in our colour."""

    name: str
    spans: Sequence[Span]
    ours: bool = False


def lanes_html(lanes: Sequence[Lane], start: int, end: int, zone: tzinfo = UTC) -> str:
    """The lanes over [start, end) ns, with an axis under them."""
    parts = ['<div class="lanes">']
    for lane in lanes:
        more = f", the first {MOST_SPANS:,} are drawn" if len(lane.spans) > MOST_SPANS else ""
        kind = "lane ours" if lane.ours else "lane"
        parts.append(f'<div class="lane-name">{escape(lane.name)}{more}</div><div class="{kind}">')
        parts += [_bar(span, start, end) for span in lane.spans[:MOST_SPANS]]
        parts.append("</div>")
    parts.append(f'<div class="axis">{"".join(f"<span>{one}</span>" for one in _ticks(start, end, zone))}</div></div>')
    return "\n".join(parts)


def _bar(span: Span, start: int, end: int) -> str:
    whole = max(1, end - start)
    left = 100 * max(0, span.start - start) / whole
    width = max(0.0, 100 * (min(span.end, end) - max(span.start, start)) / whole)
    kind = ' class="alone"' if span.alone else ""
    return f'<i{kind} style="left:{left:.3f}%;width:{width:.3f}%" title="{escape(span.text, quote=True)}"></i>'


def _ticks(start: int, end: int, zone: tzinfo) -> list[str]:
    form = "%d %b" if end - start > 3 * DAY_NS else "%d %b %H:%M" if end - start > 12 * HOUR_NS else "%H:%M"
    times = [start + (end - start) * k // 6 for k in range(7)]
    return [datetime.fromtimestamp(time // NS, zone).strftime(form) for time in times]


def table_html(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that becomes a list on a phone; the first column is a time."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{" class=when" if k == 0 else ""} data-head="{escape(heads[k])}">{escape(cell)}</td>'
            for k, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="rows"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figures_html(figures: Sequence[tuple[str, str]]) -> str:
    """(number, what it is) as cards."""
    cards = "".join(f"<div><dd>{escape(number)}</dd><dt>{escape(what)}</dt></div>" for number, what in figures)
    return f'<dl class="figures">{cards}</dl>'


def document(title: str, body: str) -> str:
    """A whole page that needs no network."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
