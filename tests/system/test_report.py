"""A search's report in a real browser: wide and narrow, by day and by night, asking nobody for anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.system.chromium import chromium, needs_chromium
from tests.tuner.report.histories import HOSTILE, SPEC, UNEXAMINED, history_of, many, trial_of
from tests.tuner.search_records import spec_of
from tuner.report.page import page_html
from tuner.report.search_report import search_sections
from tuner.study.history import Leg

pytestmark = [pytest.mark.system, needs_chromium]

TRIALS = 400


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 400 trials, one of which has a name that tries to be markup."""
    from datetime import UTC, datetime

    folder = tmp_path_factory.mktemp("report")
    spec = spec_of(folder, SPEC)
    legs = [Leg(1, HOSTILE, 0, 1.0)]
    first = trial_of(spec, 0, [0.1, 0.2], legs=legs, told_s=[60.0, 120.0], ended_s=120.0, node=HOSTILE, error=HOSTILE)
    history = history_of(folder, [first, *many(spec, TRIALS - 1, begin=1)], spec)
    page = folder / "report.html"
    page.write_text(page_html(HOSTILE, search_sections(history, UNEXAMINED), datetime(2026, 1, 2, tzinfo=UTC)), "utf-8")
    return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@contextmanager
def opened(browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"] = "light") -> Iterator[Page]:
    """The page; anything that it complains of or asks for fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on(
        "request", lambda ask: None if ask.url.startswith(("file:", "data:", "blob:")) else complaints.append(ask.url)
    )
    page.goto(report.as_uri())
    yield page
    assert complaints == []
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_and_nothing_is_wider_than_the_screen(
    browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    with opened(browser, report, width, scheme) as page:
        figures = page.locator("figure.plot .canvas")
        assert figures.count() >= 6
        for place in range(figures.count()):
            figures.nth(place).scroll_into_view_if_needed()
            expect(figures.nth(place).locator("svg.main-svg").first).to_be_visible(timeout=30_000)
            assert (
                figures.nth(place).evaluate("one => one.querySelector('.main-svg').getBoundingClientRect().width")
                <= width
            )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ink = page.locator("figure.plot .xtick text").first.evaluate("one => getComputedStyle(one).fill")
        assert ink == {"light": "rgb(28, 35, 48)", "dark": "rgb(228, 232, 238)"}[scheme]


def test_figures_follow_when_night_falls(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        ticks = page.locator("figure.plot .xtick text").first
        expect(ticks).to_have_css("fill", "rgb(28, 35, 48)", timeout=30_000)
        page.emulate_media(color_scheme="dark")
        expect(ticks).to_have_css("fill", "rgb(228, 232, 238)", timeout=30_000)


def test_a_table_is_sorted_by_its_heads_as_numbers_and_by_the_keyboard(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        table = page.locator("#trials table")
        first = table.locator("tbody tr:visible").first.locator("td")
        expect(table.locator("tbody tr:visible")).to_have_count(100)
        head = table.locator("th", has_text="trial").first
        head.locator("button").click()
        expect(first.nth(0)).to_have_text("0")
        head.locator("button").click()
        expect(first.nth(0)).to_have_text(str(TRIALS - 1))  # as text, 99 would come first
        expect(head).to_have_attribute("aria-sort", "descending")
        box = table.locator("th", has_text="mAP").first.locator("button")
        box.focus()
        page.keyboard.press("Enter")
        expect(first.nth(2)).to_have_text("0.1333")  # 2 / 15, the least box weight
        page.locator("#trials button.more").click()
        expect(table.locator("tbody tr:visible")).to_have_count(TRIALS)


def test_the_contents_lead_to_the_sections(browser: Browser, report: Path) -> None:
    with opened(browser, report, 390) as page:
        page.locator("nav summary").click()
        page.locator("nav a", has_text="How to reproduce it").click()
        expect(page.locator("#reproduce h2")).to_be_in_viewport(timeout=30_000)
