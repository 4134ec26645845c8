"""No link, anchor or picture of the written pages leads nowhere. Nothing outside of the repository is asked for."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))
MARKDOWN = MarkdownIt().enable("table")


def tokens(text: str) -> Iterator[Token]:
    for block in MARKDOWN.parse(text):
        yield block
        yield from block.children or []


def targets(text: str) -> list[str]:
    """Where links and pictures of a page lead."""
    found = [token.attrGet("href") or token.attrGet("src") for token in tokens(text)]
    return [str(target) for target in found if target]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    blocks = MARKDOWN.parse(text)
    titles = [blocks[place + 1].children or [] for place, token in enumerate(blocks) if token.type == "heading_open"]
    found: list[str] = []
    for children in titles:
        words = "".join(child.content for child in children).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        seen = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
        found.append(f"{slug}-{seen}" if seen else slug)
    return set(found)


def dead(page: Path, text: str) -> list[str]:
    """What is wrong with a page's links."""
    return [f"{target}: {why}" for target in targets(text) if (why := fault(page, text, target))]


def fault(page: Path, text: str, target: str) -> str | None:
    place = urlsplit(target)
    if place.scheme or place.netloc:
        sound = place.scheme in {"http", "https"} and re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", place.netloc)
        return None if sound else "is no address of the web"
    file = page.parent / unquote(place.path) if place.path else page
    if not file.exists():
        return "no such file"
    if ROOT not in file.resolve().parents:
        return "lies outside of the repository"
    if place.fragment:
        there = text if file == page else file.read_text(encoding="utf-8")
        return None if place.fragment in anchors(there) else "no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_of_a_page_is_dead(page: Path) -> None:
    assert dead(page, page.read_text(encoding="utf-8")) == []


def test_the_pages_have_links() -> None:
    found = [target for page in PAGES for target in targets(page.read_text(encoding="utf-8"))]
    assert len(found) > 50
    assert any(target.endswith(".png") for target in found)
    assert any("#" in target for target in found)


def test_dead_links_are_found() -> None:
    text = """
# A title, with `code` & more

[one](README.md) [two](docs/none.md) ![three](docs/none.png) [four](README.md#two-commands) [five](README.md#none)
[six](#a-title-with-code--more) [seven](#none) [eight](https://example.org/x) [nine](https://example/x) [ten](../x)
`[in code](none.md)` [reference][r]

| table |
|---|
| [cell](none.yaml) |

[r]: none.txt
"""
    assert [line.partition(":")[0] for line in dead(ROOT / "CONTRIBUTING.md", text)] == [
        "docs/none.md",
        "docs/none.png",
        "README.md#none",
        "#none",
        "https",
        "../x",
        "none.txt",
        "none.yaml",
    ]
