"""The page as a browser's parser sees it: nothing of the data becomes markup, and nothing is asked of anybody."""

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from markupsafe import Markup

from tests.tuner.report.histories import HOSTILE, SPEC, UNEXAMINED, history_of, many, trial_of
from tests.tuner.search_records import spec_of
from tuner.history import SearchHistory
from tuner.report.comparison import comparison_sections
from tuner.report.page import page_html
from tuner.report.search_report import search_sections
from tuner.report.section import Column, Section, figure_html, table_html
from tuner.study.history import Leg
from tuner.study.record import TrialState

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Seen(HTMLParser):
    """Tags with their attributes, and what scripts hold."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts.append(data)


def hostile(folder: Path) -> SearchHistory:
    """Names, errors, nodes, diagnoses and settings that try to be markup."""
    text = SPEC + f"names: [{json.dumps(HOSTILE)}]\n"
    spec = spec_of(folder, text)
    legs = [Leg(1, HOSTILE, 0, 1.0)]
    trials = [
        trial_of(spec, 0, [0.1, 0.2], legs=legs, told_s=[2.0, 3.0], ended_s=3.0, diagnosis=HOSTILE, node=HOSTILE),
        *many(spec, 14, begin=1),
        trial_of(spec, 15, [0.1], TrialState.FAILED, legs=legs, told_s=[4.0], ended_s=5.0, error=HOSTILE),
    ]
    return history_of(folder, trials, spec)


def test_hostile_names_errors_nodes_and_diagnoses_stay_text(tmp_path: Path) -> None:
    history = hostile(tmp_path)
    sections = [*search_sections(history, UNEXAMINED), *comparison_sections([history, history])]
    seen = Seen("".join(section.html for section in sections))
    assert not any(tag in ("img", "iframe", "object", "link", "style") for tag, _ in seen.tags)
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    scripts = [attributes for tag, attributes in seen.tags if tag == "script"]
    assert scripts
    assert all(attributes == {"type": "application/json"} for attributes in scripts)
    assert len(seen.scripts) == len(scripts)
    told = "".join(json.dumps(json.loads(script)) for script in seen.scripts)
    assert "alert(2)" in told  # it is there to be read,
    assert "<img" not in told  # and plotly's own markup does not read it as a tag


def test_a_page_asks_for_nothing(tmp_path: Path) -> None:
    html = page_html(HOSTILE, search_sections(hostile(tmp_path), UNEXAMINED), AT)
    seen = Seen(html)
    asked = [(tag, a[k]) for tag, a in seen.tags for k in ("src", "href", "action", "data", "poster") if a.get(k)]
    assert asked
    assert all(tag == "a" and str(address).startswith("#") for tag, address in asked)
    policy = next(a["content"] for tag, a in seen.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "http" not in policy.replace("http-equiv", "")


def test_every_line_of_the_contents_leads_to_a_section(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    seen = Seen(page_html("t", search_sections(history_of(tmp_path, many(spec, 12), spec), UNEXAMINED), AT))
    led = [str(a["href"])[1:] for tag, a in seen.tags if tag == "a" and a.get("href")]
    anchors = [a.get("id") for tag, a in seen.tags if tag == "section"]
    assert led == anchors
    assert len(set(led)) == len(led) > 8


def test_every_figure_says_how_it_is_read(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    html = "".join(section.html for section in search_sections(history_of(tmp_path, many(spec, 30), spec), UNEXAMINED))
    captions = re.findall(r"<figcaption>([^<]+)</figcaption>", html)
    assert len(captions) == html.count("<figure") >= 6
    assert all(len(caption) > 40 and caption.rstrip().endswith(".") for caption in captions)


def test_a_figures_numbers_are_what_it_was_given() -> None:
    html = figure_html(go.Figure(go.Scatter(x=[1, 2], y=np.array([3.5, np.nan]), name="</script>")), "Says.")
    (script,) = Seen(html).scripts
    trace = json.loads(script)["data"][0]
    assert trace["x"] == [1, 2]
    assert trace["name"] == "</script>"
    assert script.count("<") == 0


def test_tables_keep_numbers_for_sorting_and_show_what_is_absent() -> None:
    html = table_html(
        [Column("a", "ms", ".1f"), Column("b")], [[1.26, "<b>"], [None, Markup("<i>x</i>")], [float("nan"), "c"]]
    )
    assert '<td class="number" data-value="1.26">1.3</td>' in html
    assert html.count('<td class="absent">–</td>') == 2
    assert "&lt;b&gt;" in html
    assert "<i>x</i>" in html
    assert '<span class="unit">ms</span>' in html


@pytest.mark.parametrize(("rows", "hidden"), [(300, 0), (301, 201)])
def test_a_long_table_shows_its_first_hundred_rows(rows: int, hidden: int) -> None:
    html = table_html([Column("a", form="d")], [[number] for number in range(rows)])
    assert html.count("<tr hidden>") == hidden
    assert ("show all 301 rows" in html) is (hidden > 0)


def test_sections_come_in_their_order() -> None:
    html = page_html("t", [Section("b", "B", Markup("2")), Section("a", "A", Markup("1"))], AT)
    assert html.index('<section id="b">') < html.index('<section id="a">')
