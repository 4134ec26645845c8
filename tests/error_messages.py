"""Every error message of the code, with its remedy, as docs/troubleshooting.md lists them.

`python -m tests.error_messages` writes the list anew, below the page's last heading of that level.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
REMEDIES = Path(__file__).parent / "error_remedies.yaml"
HEADING = "## All messages\n"
FLOORS = ("data", "model", "tuner")
HOLE = re.compile(r"<[a-z0-9 ]+>|…")
KEEP = "keep the rule that the message names"

# Where a user is when a message appears, by the first of these prefixes that a module has.
CHAPTERS = {
    "data/formats/": "Recordings, boxes and label sets",
    "data/events": "Recordings, boxes and label sets",
    "data/boxes": "Recordings, boxes and label sets",
    "data/ingest/": "Ingest",
    "data/audit/": "Ingest",
    "data/simulator/": "Ingest",
    "data/storage": "Folders and object stores",
    "data/object_": "Folders and object stores",
    "data/node_cache": "Folders and object stores",
    "data/cache/": "Folders and object stores",
    "data/": "Datasets and windows",
    "model/predictions/": "Detectors, found boxes and exports",
    "model/training/": "Training",
    "model/": "Detectors, found boxes and exports",
    "tuner/spec/": "A specification",
    "tuner/space": "A specification",
    "tuner/domains": "A specification",
    "tuner/leaves": "A specification",
    "tuner/located": "A specification",
    "tuner/samplers/": "A specification",
    "tuner/schedulers/": "A specification",
    "tuner/warm_start": "A specification",
    "tuner/run_history": "A specification",
    "tuner/ablation/": "Ablations",
    "tuner/promotion/": "Promotion and detection",
    "tuner/report/": "Reports",
    "tuner/examination/": "Reports",
    "tuner/services/": "A cluster",
    "tuner/doctor/": "A cluster",
    "tuner/head": "A cluster",
    "tuner/tunnel": "A cluster",
    "tuner/loopback": "Options of commands",
    "tuner/cli_": "Options of commands",
    "tuner/output": "Options of commands",
    "tuner/logs": "Options of commands",
    "tuner/profile_target": "Options of commands",
    "tuner/": "A search and its folder",
}


@dataclass(frozen=True)
class Message:
    """A message a user may meet; what it says of the case at hand stands in it as <name>."""

    module: str  # as data/formats/dat.py
    text: str

    @property
    def chapter(self) -> str:
        """Where its reader looks for it."""
        return next(title for prefix, title in CHAPTERS.items() if self.module.startswith(prefix))

    @property
    def parts(self) -> tuple[str, str]:
        """What is wrong, and the remedy that follows its last semicolon, if there is one."""
        what, _, remedy = self.text.rpartition("; ")
        return (what, remedy) if _says_something(what) and _says_something(remedy) else (self.text, "")


def _says_something(text: str) -> bool:
    return re.search(r"\w", HOLE.sub("", text)) is not None


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the three floors."""
    paths = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def error_classes() -> set[str]:
    """The names of data.errors' tree, of all that derive from it, and of what pydantic makes a ConfigError of."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {"SpiketuneError"}
    while grown := {name for name, of in bases.items() if of & known} - known:
        known |= grown
    return known | {"ValueError"}


def made_errors() -> Iterator[tuple[str, ast.Call]]:
    """Every place where such an error is made, with its module."""
    classes = error_classes()
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                yield module, node


def literal(call: ast.Call) -> ast.expr | None:
    """The text an error is made with, where it stands there."""
    return next((given for given in call.args if isinstance(given, ast.JoinedStr) or _is_text(given)), None)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def messages() -> list[Message]:
    """All of them, in the order of modules and lines."""
    found = [Message(module, shown(text)) for module, call in made_errors() if (text := literal(call)) is not None]
    return list(dict.fromkeys(message for message in found if _says_something(message.text)))


def without_text() -> set[str]:
    """The modules in which an error is made of a text that stands elsewhere."""
    return {module for module, call in made_errors() if call.args and literal(call) is None}


@cache
def constants() -> dict[str, str]:
    """Texts by the names of module constants, where a name means one text."""
    found: dict[str, set[str]] = {}
    for tree in trees().values():
        for node in tree.body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, set()).add(node.value.value)
    return {name: texts.pop() for name, texts in found.items() if len(texts) == 1}


def shown(node: ast.expr) -> str:
    """A text as users meet it, with <names> for what changes."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(shown(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _hole(node.value)
    raise TypeError(ast.dump(node))


def _hole(node: ast.expr) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "nearest":
        return "did you mean …?"
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    if name in constants():
        return constants()[name]
    return f"<{name.strip('_').lower().replace('_', ' ')}>" if name else "…"


@cache
def remedies() -> dict[str, str]:
    """What to do about messages that do not say it themselves, by their text."""
    found: dict[str, str] = yaml.safe_load(REMEDIES.read_text(encoding="utf-8")) or {}
    return found


def remedy(message: Message) -> str:
    """What to do; empty if nobody has said it."""
    said = message.parts[1] or (KEEP if re.search(r"\b(must|needs)\b", message.text) else "")
    return remedies().get(message.text) or said


def page_list() -> str:
    """The list of all messages, by chapters."""
    chapters: dict[str, list[Message]] = {title: [] for title in dict.fromkeys(CHAPTERS.values())}
    for message in messages():
        chapters[message.chapter].append(message)
    return "\n".join(_chapter(title, found) for title, found in chapters.items() if found)


def _chapter(title: str, found: list[Message]) -> str:
    rows = {f"| {_cell_code(message)} | {_cell(_sentence(remedy(message)))} |": None for message in found}
    return "\n".join([f"### {title}", "", "| message | what to do |", "|---|---|", *rows]) + "\n"


def _cell_code(message: Message) -> str:
    what = message.text if message.text in remedies() else message.parts[0]
    return (f"`` {what} ``" if "`" in what else f"`{what}`").replace("|", "\\|")


def _cell(text: str) -> str:
    return re.sub(r"[<>*|]", lambda found: "\\" + found[0], text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." * (not text.endswith((".", "?", "`")))


def as_pattern(what: str) -> re.Pattern[str]:
    """What begins like a message of the page, with anything in its holes."""
    return re.compile(".*".join(map(re.escape, HOLE.split(what))), re.DOTALL)


def write_page() -> None:
    """Bring the page's list up to date."""
    before = PAGE.read_text(encoding="utf-8").partition(HEADING)[0]
    PAGE.write_text(before + HEADING + "\n" + page_list(), encoding="utf-8")


if __name__ == "__main__":
    write_page()
