"""The page that every report is set in: one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jinja2

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff } p { max-width: 60rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }
td, th { padding: .25rem .45rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left; white-space: nowrap }
img { max-width: 100% } figure { margin: 1rem 0 } figcaption, .note { color: #666 }
td { vertical-align: top; white-space: nowrap }
td.said { text-align: left; min-width: 14rem; white-space: normal } .wide { overflow-x: auto }
.sheet { display: flex; flex-wrap: wrap; gap: .6rem } .sheet figure { margin: 0; width: 7rem }
.sheet figcaption { font-size: .75rem; overflow-wrap: anywhere }
</style></head><body><h1>{{ title }}</h1>
{% for paragraph in introduction %}<p>{{ paragraph }}</p>
{% endfor %}{% for section in sections %}<h2>{{ section.title }}</h2>
{% for paragraph in section.paragraphs %}<p>{{ paragraph }}</p>
{% endfor %}{% if section.sheet %}<div class="sheet">{% endif %}
{% for caption, address in section.figures.items() %}<figure>
<img src="{{ address }}" alt="{{ caption }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}{% if section.sheet %}</div>{% endif %}
{% for table in section.tables %}<div class="wide"><table><tr>
{% for head in table.head %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}
<td{% if cell is string and cell|length > 30 %} class="said"{% endif %}>{{ cell }}</td>
{% endfor %}</tr>
{% endfor %}</table></div>
{% endfor %}{% endfor %}</body></html>
"""


@dataclass(kw_only=True)
class Table:
    """A table: first column left, the others right."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(kw_only=True)
class Section:
    """A part of a page: its paragraphs, then its figures (caption to address), then its tables."""

    title: str
    paragraphs: Sequence[str] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    sheet: bool = False
    """Whether the figures are small and stand side by side."""


def page(title: str, introduction: Sequence[str], sections: Sequence[Section]) -> str:
    """A complete HTML document; all text is escaped."""
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    return template.render(title=title, introduction=introduction, sections=sections)
