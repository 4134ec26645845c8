"""The documented commands from nothing to a decision, in a real browser: MLflow's pages of a search.

A page that asks for anything outside this machine, or says an error that is not known as MLflow's own, fails its test.
"""

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.system.chromium import chromium, needs_chromium
from tests.system.command import COMMAND, run, small_spec
from tests.system.servers import answers, free_port

pytestmark = [pytest.mark.system, needs_chromium]

PATIENCE_MS = 90_000
# What MLflow itself says, whatever it shows: it asks who is logged in of a server without logins, and for a bucket's
# address of what lies in a folder; and its charts are resized while they are drawn.
MLFLOWS_OWN = ("mlflow/users/current", "artifacts/presigned-download-url", "ResizeObserver loop")
FIRST_ROW = """value => Number(document.querySelector(
    '[role="row"][row-index="0"] [col-id="metrics.`best_map`"]').textContent) === value"""


def spiketune(folder: Path, *arguments: str) -> str:
    return run(folder, arguments).stdout


@dataclass(frozen=True)
class Searched:
    """A search that has ended, and MLflow's server over its record."""

    folder: Path
    result: dict[str, Any]
    address: str  # as `spiketune ui` prints it
    server: "subprocess.Popen[str]"

    @property
    def winner(self) -> str:
        """The name of its run."""
        number = self.result["best"]["number"]
        return f"{number:04d}{' default' if number == 0 else ''} winner"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.yaml").write_text(small_spec("page", trials=4, epochs=3), encoding="utf-8")
    spiketune(folder, "simulate", "traffic", "--train", "2", "--val", "1", "--test", "0", "--duration-s", "1.5")
    spiketune(folder, "ingest", "traffic", "dataset", "--labels", "etram8")
    result = json.loads(spiketune(folder, "search", "page.yaml", "--data", "dataset", "--json"))
    command = [*COMMAND, "ui", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            told = next(line for line in server.stdout if line.startswith("http://"))
            yield Searched(folder, result, told.split()[0], server)
        finally:
            server.terminate()
            server.wait(timeout=60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@dataclass
class Watched:
    """A browser's window, and what went wrong in its pages."""

    context: BrowserContext
    wrong: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: self._said(said.type, f"{said.text} {said.location.get('url', '')}"))
        page.on("pageerror", lambda error: self._said("error", str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and not any(known in text for known in MLFLOWS_OWN):
            self.wrong.append(f"says {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:")):
            self.wrong.append(f"asks for {url}")


@pytest.fixture
def window(browser: Browser, searched: Searched) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1700, "height": 1000}, accept_downloads=True)
    watched = Watched(context)
    context.on("page", watched.watch)
    yield watched
    context.close()
    assert watched.wrong == []


@pytest.fixture
def search_page(window: Watched, searched: Searched) -> Page:
    """The page of the search's run, found where `spiketune ui` opens."""
    page = window.context.new_page()
    page.goto(searched.address)
    page.get_by_role("link", name=searched.result["search_id"]).first.click()
    expect(page.get_by_role("heading", name=searched.result["search_id"])).to_be_visible(timeout=PATIENCE_MS)
    return page


def follow(window: Watched, link: Locator) -> Page:
    """Click a link of a description, which opens a page of its own."""
    with window.context.expect_page() as opened:
        link.click()
    return opened.value


def winner_page(window: Watched, search_page: Page, searched: Searched) -> Page:
    page = follow(window, search_page.get_by_role("link", name=f"trial {searched.result['best']['number']}").first)
    expect(page.get_by_role("heading", name=searched.winner)).to_be_visible(timeout=PATIENCE_MS)
    return page


def test_a_search_by_the_documented_commands_names_its_winner(searched: Searched) -> None:
    result = searched.result
    assert sum(result["trials"].values()) == 4
    assert result["trials"]["failed"] == 0
    assert set(result["best"]) >= {"number", "map", "map50", "config", "checkpoint"}
    assert result["best"]["map"] >= result["default"]["map"]


def test_the_winners_checkpoint_measures_what_any_later_run_measures(searched: Searched) -> None:
    checkpoint = searched.result["best"]["checkpoint"]
    evaluate = ["evaluate", checkpoint, "--data", "dataset", "--json", "--picture", "windows.png"]
    first, second = (json.loads(spiketune(searched.folder, *evaluate)) for _ in range(2))
    assert first == second
    assert (searched.folder / "windows.png").read_bytes().startswith(b"\x89PNG")


def test_the_searchs_page_opens_with_the_answer_and_leads_to_the_winner(
    search_page: Page, window: Watched, searched: Searched
) -> None:
    best, default = searched.result["best"], searched.result["default"]
    for told in (
        f"Best: trial {best['number']}, mAP {best['map']:.4g}, mAP50 {best['map50']:.4g} in epoch {best['epoch']}",
        f"{best['map'] - default['map']:+.4f} mAP over {default['map']:.4f}",
        f"Cost: {sum(searched.result['trials'].values())} trials",
    ):
        expect(search_page.get_by_text(told).first).to_be_visible()
    child = winner_page(window, search_page, searched)
    expect(child.get_by_text("The search's winner").first).to_be_visible()
    box = best["sampled"].get("loss.box")
    if box is not None:
        expect(child.get_by_text(f"loss.box {box:.3g}, default 5").first).to_be_visible()


def test_trials_sorted_by_map_stand_in_the_order_of_their_best_epochs(
    search_page: Page, window: Watched, searched: Searched
) -> None:
    search_page.get_by_text("Show more").click()
    page = follow(window, search_page.get_by_role("link", name="All trials, best first"))
    best_map = page.locator('[role="gridcell"][col-id="metrics.`best_map`"]')
    trials = sum(searched.result["trials"].values())
    expect(best_map).to_have_count(trials + 1, timeout=PATIENCE_MS)  # the search's own beside its winner's
    falling = _numbers(page)
    assert falling == sorted(falling, reverse=True)
    assert falling[:2] == [pytest.approx(searched.result["best"]["map"])] * 2
    page.locator('[col-id="metrics.`best_map`"]').get_by_text("best_map").click()
    page.wait_for_function("() => location.hash.includes('orderByAsc=true')")
    page.wait_for_function(FIRST_ROW, arg=falling[-1])
    assert _numbers(page) == falling[::-1]


def _numbers(page: Page) -> list[float]:
    """The column's values from top to bottom: the grid's cells need not stand in this order."""
    rows = page.locator('[role="row"][row-index]:has([col-id="metrics.`best_map`"])')
    found = rows.evaluate_all(
        "rows => rows.map(row => [Number(row.getAttribute('row-index')),"
        " Number(row.querySelector('[col-id=\"metrics.`best_map`\"]').textContent)])"
    )
    return [value for _, value in sorted(found)]


def test_a_trials_learning_curve_and_the_searchs_pictures_are_drawn(
    search_page: Page, window: Watched, searched: Searched
) -> None:
    child = winner_page(window, search_page, searched)
    child.get_by_role("tab", name="Model metrics").click()
    child.get_by_placeholder("Search metric charts").fill("^map$")
    points = child.locator(".js-plotly-plot .scatterlayer .point")
    expect(points).to_have_count(3, timeout=PATIENCE_MS)  # an epoch each
    search_page.get_by_role("tab", name="Artifacts").click()
    for name in ("learning_curves.png", "optimisation_history.png"):
        search_page.get_by_text(name, exact=True).first.click()
        picture = search_page.locator("img[src^='blob:']").first
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") == 880  # 8 inches of 110 dots


def test_the_report_opens_within_mlflow(search_page: Page, window: Watched, searched: Searched) -> None:
    search_page.get_by_text("Show more").click()
    page = follow(window, search_page.get_by_role("link", name="Report"))
    report = page.frame_locator("iframe").first
    expect(report.get_by_text("The answer").first).to_be_visible(timeout=PATIENCE_MS)
    expect(report.get_by_text(searched.result["search_id"]).first).to_be_visible()


def test_a_training_from_the_downloaded_configuration_comes_to_its_end(
    search_page: Page, window: Watched, searched: Searched
) -> None:
    child = winner_page(window, search_page, searched)
    page = follow(window, child.get_by_role("link", name="best.yaml"))
    with page.expect_download() as download:
        page.locator('button[data-component-id*="artifactview"]').click()  # an arrow without a name
    config = searched.folder / "downloaded.yaml"
    download.value.save_as(config)
    assert yaml.safe_load(config.read_text())["loss"]["box"] == searched.result["best"]["config"]["loss.box"]
    train = ["train", "--config", config.name, "--data", "dataset", "--out", "again", "--set", "training.epochs=1"]
    again = json.loads(spiketune(searched.folder, *train, "--json"))
    assert again["epoch"] == 1
    assert (searched.folder / "again" / "best.safetensors").is_file()


def test_ctrl_c_ends_the_pages_and_their_server(searched: Searched) -> None:
    port = int(searched.address.split(":")[2].split("/")[0])
    assert answers(port)
    searched.server.send_signal(signal.SIGINT)
    assert searched.server.wait(timeout=60) == 0
    assert not answers(port)
