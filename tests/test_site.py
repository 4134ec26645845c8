"""docs/ builds into a site without a warning, and the site asks nothing of any server."""

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; dead links, unknown anchors, pages that no menu names and broken docstrings end the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def menu(entries: object) -> list[str]:
    """The files that a menu names."""
    if isinstance(entries, str):
        return [entries]
    children = entries.values() if isinstance(entries, dict) else entries
    assert not isinstance(children, str | None)
    return [file for child in children for file in menu(child)]  # type: ignore[attr-defined]


def test_the_menu_names_every_page_once() -> None:
    named = menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_the_site_has_a_page_for_each(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        title = re.search(r"^# (.+)$", page.read_text(), re.MULTILINE)
        assert title is not None
        plain = html.unescape(re.sub(r"<[^>]+>", "", (site / f"{page.stem}.html").read_text()))
        assert title[1].replace("`", "") in plain


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    fetched = [
        f"{page.name}: {address}"
        for page in site.rglob("*.html")
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text())
        for address in re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", tag)
        if re.match(r"(?:\w+:)?//", address)
    ]
    assert fetched == []
    styles = [style.read_text() for style in site.rglob("*.css")]
    assert styles
    assert [found for style in styles for found in re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]*", style)] == []


def test_the_search_index_knows_the_words_of_a_page(site: Path) -> None:
    # A script rather than data, so that a page opened from a disk may read it.
    index = (site / "search" / "search_index.js").read_text()
    assert "causal" in index
    assert "iframe-worker.js" in (site / "index.html").read_text()
