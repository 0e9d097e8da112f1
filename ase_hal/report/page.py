"""The page: sections and their figures as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template

from ase_hal.report.style import Section

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: #fff;
  color: #222b38; font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .5rem; }
section { margin-top: 2.5rem; padding-top: 1.25rem; border-top: 1px solid #e3e7ec; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
nav { margin-top: 1.25rem; line-height: 1.9; }
nav a { margin-right: 1rem; white-space: nowrap; }
a { color: #0072b2; text-decoration: none; }
a:hover { text-decoration: underline; }
img { display: block; width: 100%; height: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.summary th { text-align: left; font-weight: 600; padding: .3rem 1.5rem .3rem 0;
  vertical-align: top; white-space: nowrap; }
.summary td { padding: .3rem 0; overflow-wrap: anywhere; }
.summary tr + tr > * { border-top: 1px solid #eef1f4; }
.wide { overflow-x: auto; }
.data th, .data td { text-align: right; padding: .35rem .75rem; }
.data th { font-weight: 600; vertical-align: bottom; border-bottom: 1px solid #b6bcc6; }
.data tr + tr td { border-top: 1px solid #eef1f4; }
@media print {
  body { padding: 0; font-size: 10pt; max-width: none; }
  nav { display: none; }
  section { break-inside: avoid; margin-top: 1.25rem; }
  img { max-height: 20cm; object-fit: contain; object-position: left; }
}
</style>
</head>
<body>
<h1>$title</h1>
<p>$status</p>
<table class="summary">$summary</table>
<nav>$contents</nav>
$sections
</body>
</html>
""")

Pictures = Mapping[str, bytes]


def render(
    title: str,
    status: str,
    summary: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    pictures: Pictures,
) -> str:
    """Assemble the page.

    Parameters
    ----------
    title, status : str
        Heading and the line below it.
    summary : sequence of (str, str)
        Names and values.
    sections : sequence of Section
        The parts, in order.
    pictures : mapping of str to bytes
        By the name of a section, its figure as PNG.
    """
    return _PAGE.substitute(
        title=escape(title),
        status=escape(status),
        summary="".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in summary
        ),
        contents="".join(
            f'<a href="#part-{i}">{escape(section.title)}</a> '
            for i, section in enumerate(sections)
        ),
        sections="\n".join(
            f'<section id="part-{i}"><h2>{escape(section.title)}</h2>'
            f"{_picture(section, pictures)}{_table(section)}<p>{escape(section.text)}</p></section>"
            for i, section in enumerate(sections)
        ),
    )


def _picture(section: Section, pictures: Pictures) -> str:
    if section.name not in pictures:
        return ""
    return f'<img src="{_data_url(pictures[section.name])}" alt="{escape(section.title)}">'


def _data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _table(section: Section) -> str:
    if not section.rows:
        return ""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in section.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in section.rows
    )
    return f'<div class="wide"><table class="data"><tr>{head}</tr>{body}</table></div>'
