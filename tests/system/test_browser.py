"""The documented commands from nothing to a page: simulate, ingest, search, and MLflow's page in a real browser."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.system.command import COMMAND, run, small_spec

pytestmark = pytest.mark.system

CHROMIUM = shutil.which("chromium")


def spiketune(folder: Path, *arguments: str) -> str:
    return run(folder, arguments).stdout


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.yaml").write_text(small_spec("page", trials=4, epochs=3), encoding="utf-8")
    spiketune(folder, "simulate", "traffic", "--train", "2", "--val", "1", "--test", "0", "--duration-s", "1.5")
    spiketune(folder, "ingest", "traffic", "dataset", "--labels", "etram8")
    result: dict[str, Any] = json.loads(spiketune(folder, "search", "page.yaml", "--data", "dataset", "--json"))
    return folder, result


@contextmanager
def ui(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([*COMMAND, "ui", "--port", str(port)], cwd=folder, stdout=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(120):
        assert server.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not answer within a minute")


@contextmanager
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": 1500, "height": 900})
        browser.close()


def test_a_search_by_the_documented_commands_names_its_winner(searched: tuple[Path, dict[str, Any]]) -> None:
    _, result = searched
    assert sum(result["trials"].values()) == 4
    assert result["trials"]["failed"] == 0
    assert set(result["best"]) >= {"number", "map", "map50", "config", "checkpoint"}
    assert result["best"]["map"] >= result["default"]["map"]


def test_the_winners_checkpoint_measures_what_any_later_run_measures(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, result = searched
    evaluate = ["evaluate", result["best"]["checkpoint"], "--data", "dataset", "--json", "--picture", "windows.png"]
    first, second = (json.loads(spiketune(folder, *evaluate)) for _ in range(2))
    assert first == second
    assert (folder / "windows.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(CHROMIUM is None, reason="needs the command chromium")
def test_mlflows_page_shows_the_search_and_its_trials(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, result = searched
    with ui(folder) as address, page() as tab:
        tab.goto(f"{address}/#/experiments/1/runs")
        parent = tab.get_by_role("gridcell").filter(has_text=result["search_id"]).first
        expect(parent).to_be_visible(timeout=60_000)
        parent.get_by_role("button").first.click()  # opens its children
        for trial in ("0000 default", "0001", "0002", "0003"):
            expect(tab.get_by_text(trial, exact=True).first).to_be_visible(timeout=30_000)
