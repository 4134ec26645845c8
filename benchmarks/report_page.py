"""Draws docs/report.png: the first screen of a search's report, in a real browser.

After a search: python -m benchmarks.report_page SEARCH_DIR/report.html
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright


def main(report: Path, out: Path) -> None:
    """Open the page, let its figures be drawn, and save what is seen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 1120})
        tab.goto(report.absolute().as_uri())
        tab.locator(".js-plotly-plot .scatterlayer").first.wait_for()
        tab.screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/report.png"))
    given = parser.parse_args()
    main(given.report, given.out)
