"""The page: what it holds, that nothing in it is taken for a tag, and that it asks nobody for anything."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re

import pytest

from rbc_marl.analysis.charts import Chart, Line
from rbc_marl.report import page as pages
from rbc_marl.report.sections import Part, Section, Table, from_markdown
from tests.report.folders import HOSTILE

CHART = Chart("h", f"title {HOSTILE}", "x", HOSTILE, (Line([1, 2], [1.0, 2.0], HOSTILE),), f"caption {HOSTILE}")
TABLE = Table("numbers", ("name", "value"), ((HOSTILE, 1234.5), ("b", None), ("c" * 50, "12%")))
PART = Part(
    f"run {HOSTILE}",
    (f"First {HOSTILE}.", "Second."),
    (Section("Figures", (CHART,)), Section("Tables", (), (TABLE,), ("words", f"- point {HOSTILE}")), Section("Empty")),
    (),
    (f"note {HOSTILE}",),
    {"command": ["rbc-marl", HOSTILE], "versions": {"python": "3"}, "settings": f"a:\n  b: {HOSTILE}\n", "seed": 0},
)
FILES = {"numbers.csv": f"a,b\n1,{HOSTILE}\n", "numbers.json": "{}", "numbers.tex": "%"}


@pytest.fixture(scope="module")
def html():
    return pages.page(f"Report {HOSTILE}", [PART], FILES, {"about": [HOSTILE]})


def own(html):
    """The page without plotly's script."""
    return re.sub(r'(<script type="text/plain" id="library">)[^<]*', r"\1", html)


def test_no_text_is_taken_for_a_tag(html):
    text = own(html)
    assert HOSTILE not in text and text.count("<script") == text.count("</script>") == 3
    assert text.count("&lt;script&gt;") >= 10
    figures = json.loads(re.search(r'id="figures">([^<]*)<', text)[1])
    assert figures["charts"]["chart-0-0-h"]["data"][0]["name"].startswith("&lt;script&gt;")


def test_data_of_figures_ends_no_element():
    assert "<" not in pages._json({"a": "</script><b>"}) and json.loads(pages._json(["<&>"])) == ["<&>"]


def test_the_policy_lets_two_scripts_run_and_no_request_out(html):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[1]
    assert "default-src 'none'" in policy and "http" not in policy
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    library = re.search(r'id="library">([^<]*)<', html)[1]
    plain = [script[0].encode(), gzip.decompress(base64.b64decode(library))]
    for text in plain:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" in policy
    assert "https:" not in own(html) and "http:" not in own(html) and "src=" not in own(html).replace("-src", "")


def test_the_page_is_small(html):
    assert len(html.encode()) < 2_200_000


def test_files_can_be_saved_without_a_script(html):
    found = dict(re.findall(r'<a download="([^"]+)" href="data:[^,]+;base64,([^"]+)"', html))
    assert {name: base64.b64decode(content).decode() for name, content in found.items()} == FILES


def test_a_screen_reader_gets_words_for_figures_and_tables(html):
    assert re.search(r'role="img" aria-label="title &lt;script&gt;[^"]*caption', html)
    assert "<figcaption>caption" in html
    assert '<th scope="col">name</th>' in html and "<caption>numbers</caption>" in html
    assert 'lang="en"' in html and "<noscript>" in html and "<h2>Empty</h2>" not in html


def test_tables_are_readable_as_they_are_and_sort_by_what_they_hold(html):
    assert '<td class="number" data-value="1234.5">1,234</td>' in html or 'data-value="1234.5">1,235<' in html
    assert f'<td class="long">{"c" * 50}</td>' in html and '<td class="number">12%</td>' in html and "<td></td>" in html


def test_how_it_was_made_is_folded(html):
    assert "<summary>How this was made</summary>" in html and "<pre>a:\n  b: &lt;script&gt;" in html
    assert "<dt>versions</dt><dd>python 3</dd>" in html and "<dt>seed</dt><dd>0</dd>" in html


def test_of_several_sources_each_has_its_own_heading():
    html = pages.page("two", [PART, Part("b", ("x.", "y."), (), ())], {}, {})
    assert "<h2>run &lt;script&gt;" in html and "<h2>b</h2>" in html and "<h3>Figures</h3>" in html


def test_a_summary_becomes_tables_with_their_titles():
    texts = ["| arm | alive |\n|---|---|\n| a\\|b |  |", "Seeds:", "- a: 1", "What they do:", "| x |\n|---|\n| 1 |"]
    sections = from_markdown(texts)
    assert [section.title for section in sections] == ["Summary", "Seeds", "What they do"]
    assert sections[0].tables[0].rows == (("a|b", ""),) and sections[0].tables[0].head == ("arm", "alive")
    assert sections[1].words == ("- a: 1",) and sections[2].tables[0].caption == "What they do"
