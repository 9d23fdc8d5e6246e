"""The page of a report: one HTML file that needs nothing else, and no text of which is taken for a tag.

Its policy forbids every request, and every script but its own two, which it knows by their hashes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from rbc_marl.analysis.charts import Chart
from rbc_marl.analysis.evaluation_table import shown
from rbc_marl.errors import require
from rbc_marl.report.plotly import dark_colours, figure, height_of
from rbc_marl.report.sections import Cell, Part, Section, Table

_MIME = {".csv": "text/csv", ".tex": "application/x-tex", ".json": "application/json"}
# Cells of more letters than this wrap.
_LONG = 40
_NUMERIC = re.compile(r"[-+]?[\d,.]+%?( ± [\d,.]+%?)?")


def page(title: str, parts: Sequence[Part], downloads: Mapping[str, str], how: Mapping[str, Any]) -> str:
    """The page.

    Args:
        title: Of the whole.
        parts: What is said of each source.
        downloads: Contents of files by name, which the page holds.
        how: How the page itself was made.

    Returns:
        HTML.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    charts = {_id(i, j, chart): chart for i, part in enumerate(parts) for j, chart in enumerate(charts_of(part))}
    drawn = {name: figure(chart) for name, chart in charts.items()}
    heights = {name: height_of(chart, drawn[name]) for name, chart in charts.items()}
    library, digest = _library()
    script = _file("page.js")
    scripts = f"'{_digest(script)}' '{digest}'"
    filled = {
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {scripts}",
        "title": _text(title),
        "style": _file("page.css"),
        "body": _body(title, parts, downloads, how, heights),
        "figures": _json({"charts": drawn, "dark": dark_colours()}),
        "library": library,
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], _file("page.html"))


def charts_of(part: Part) -> list[Chart]:
    """All charts of a part, in their order."""
    return [chart for section in part.sections for chart in section.charts]


def cell_words(value: Cell) -> str:
    """A cell as people read it."""
    if isinstance(value, float):
        return shown(value)
    return "" if value is None else str(value)


def _body(
    title: str,
    parts: Sequence[Part],
    downloads: Mapping[str, str],
    how: Mapping[str, Any],
    heights: Mapping[str, int],
) -> str:
    is_one = len(parts) == 1
    links = "".join(f"<li>{_download(name, content)}</li>" for name, content in downloads.items())
    first = _first(parts[0]) if is_one else ""
    blocks = [f"<header><h1>{_text(title)}</h1>{first}", f'<ul class="downloads">{links}</ul></header>']
    without = "Without scripts there are no figures here; the folder figures beside this page has them as pictures."
    blocks.append(f'<noscript><p class="note">{without}</p></noscript><main id="content">')
    for number, part in enumerate(parts):
        body = "" if is_one else f"<h2>{_text(part.title)}</h2>{_first(part)}"
        level = 2 if is_one else 3
        sections = _sections(part, number, level, heights)
        blocks.append(f"<article>{body}{sections}{_how('How this was made', part.how)}</article>")
    blocks.append(f"</main><footer>{_how('How this page was made', how)}</footer>")
    return "\n".join(blocks)


def _first(part: Part) -> str:
    """The verdict, and what must be known before all else."""
    sentences = f'<p class="verdict">{_text(" ".join(part.verdict))}</p>'
    return sentences + "".join(f'<p class="note" role="note">{_text(note)}</p>' for note in part.notes)


def _sections(part: Part, number: int, level: int, heights: Mapping[str, int]) -> str:
    blocks, drawn = [], 0
    for section in part.sections:
        if section.is_empty:
            continue
        names = [_id(number, drawn + i, chart) for i, chart in enumerate(section.charts)]
        drawn += len(names)
        plots = "".join(_figure(name, chart, heights[name]) for name, chart in zip(names, section.charts, strict=True))
        charts = f'<div class="charts">{plots}</div>' if plots else ""
        tables = "".join(_table(table, table.caption == section.title) for table in section.tables)
        heading = f"<h{level}>{_text(section.title)}</h{level}>"
        blocks.append(f"<section>{heading}{charts}{tables}{_words(section)}</section>")
    return "".join(blocks)


def _id(part: int, number: int, chart: Chart) -> str:
    return f"chart-{part}-{number}-{re.sub(r'[^a-z0-9]+', '-', chart.name.lower())}"


def _figure(name: str, chart: Chart, height: int) -> str:
    title = f"<h4>{_text(chart.title)}</h4>" if chart.title else ""
    said = _text(f"{chart.title}. {chart.caption}".strip(". "))
    plot = f'<div class="plot" id="{name}" role="img" aria-label="{said}" style="height: {height}px"></div>'
    caption = f"<figcaption>{_text(chart.caption)}</figcaption>" if chart.caption else ""
    return f'<figure style="--size: {chart.size[0]:g}">' f"{title}{plot}{caption}</figure>"


def _words(section: Section) -> str:
    """Paragraphs, and lists of what begins with a dash."""
    blocks = []
    for is_list, lines in groupby(section.words, key=lambda line: line.startswith("- ")):
        kept = [line for line in lines if line.strip()]
        if is_list:
            blocks.append(f"<ul>{''.join(f'<li>{_text(line[2:])}</li>' for line in kept)}</ul>")
        else:
            blocks += [f"<p>{_text(line)}</p>" for line in kept]
    return "".join(blocks)


def _table(table: Table, is_titled: bool) -> str:
    """A table; its caption is only read aloud where a heading above says the same."""
    caption, look = _text(table.caption), ' class="said"' if is_titled else ""
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in table.head)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    whole = f"<table><caption{look}>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">{whole}</div>'


def _cell(value: Cell) -> str:
    if isinstance(value, int | float):
        return f'<td class="number" data-value="{value!r}">{_text(cell_words(value))}</td>'
    words = cell_words(value)
    kind = ' class="number"' if _NUMERIC.fullmatch(words) else ' class="long"' if len(words) > _LONG else ""
    return f"<td{kind}>{_text(words)}</td>"


def _how(title: str, how: Mapping[str, Any]) -> str:
    """A folded block: a line for each entry, and long texts as they are."""
    if not how:
        return ""
    lines = []
    for name, value in how.items():
        if value in (None, "", [], {}):
            continue
        text = value if isinstance(value, str) else _plain(value)
        content = f"<pre>{_text(text)}</pre>" if "\n" in text else _text(text)
        lines.append(f"<dt>{_text(name.replace('_', ' '))}</dt><dd>{content}</dd>")
    return f"<details><summary>{_text(title)}</summary><dl>{''.join(lines)}</dl></details>"


def _plain(value: object) -> str:
    """Plain data in a line, or in several where it is long."""
    if isinstance(value, Mapping) and all(isinstance(entry, str | int | float | None) for entry in value.values()):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value):
        return " ".join(value)
    return str(value) if isinstance(value, int | float) else json.dumps(value, indent=1, default=str)


def _download(name: str, content: str) -> str:
    """A link that needs neither a script nor a request."""
    kind = _MIME[Path(name).suffix]
    data = base64.b64encode(content.encode()).decode()
    return f'<a download="{_text(name)}" href="data:{kind};charset=utf-8;base64,{data}">Download {_text(name)}</a>'


def _text(words: str) -> str:
    return html.escape(words)


def _json(value: object) -> str:
    """JSON that ends no element of a page."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _library() -> tuple[str, str]:
    """The script of plotly, packed, and its digest."""
    script: str = require("plotly.offline", "analysis").get_plotlyjs()
    packed = gzip.compress(script.encode(), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode(), _digest(script)


def _digest(script: str) -> str:
    """The hash of a script, as a policy of a page names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


