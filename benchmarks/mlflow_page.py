"""Draws docs/mlflow.png: MLflow's page of a search's trials, best first, in a real browser.

Begin `spiketune ui` where the search was run, then: python -m benchmarks.mlflow_page SEARCH_ID [--port 5000]
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tuner.recording.views import page as page_of

PATIENCE_MS = 120_000


def main(search: str, port: int, experiment: str, out: Path) -> None:
    """Open the view of the search's trials, as a link of its description does, and save what is seen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1500, "height": 820})
        tab.goto(f"http://127.0.0.1:{port}/{page_of(experiment, search)}")
        winner = tab.get_by_role("link", name="winner").first
        expect(winner).to_be_visible(timeout=PATIENCE_MS)
        tab.get_by_role("button", name="Hide banner").click()
        close = tab.get_by_role("button", name="Close", exact=True)
        if close.count():  # MLflow's assistant, which opens on the first visit
            close.first.click()
        tab.wait_for_timeout(3000)  # the table takes the room
        tab.screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("search")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--experiment", default="1")
    parser.add_argument("--out", type=Path, default=Path("docs/mlflow.png"))
    given = parser.parse_args()
    main(given.search, given.port, given.experiment, given.out)
