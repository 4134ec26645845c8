"""The house around the code: what is installed, pinned and licensed, what is written down, and what must not be."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Never part of the repository.
MADE = {".git", ".venv", "__pycache__", "build", "site", "datasets", "runs", "ablations", ".hypothesis"}

# Folders of one machine, and package indexes, which a user's pip knows better. Written so as not to find themselves.
MACHINE_PATH = re.compile(r"/[w]ork/|/[r]oot/|/[h]ome/\w+|/[t]mp/(?!ray)")
INDEX_HOST = re.compile(r"[p]ypi\.org|[p]ythonhosted\.|[d]ownload\.pytorch\.|[d]eb\.debian\.|[n]pmjs\.")


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """What these requirements bring on this machine, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            package = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        found[key[0]] = package
        waiting += wanted(package, requirement.extras)
    return found


def wanted(package: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in package.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement


def is_copyleft(license_expression: str | None, classifiers: list[str]) -> bool:
    """Whether only GPL or AGPL terms are offered; the LGPL is none of them."""
    if license_expression:
        choices = re.split(r"\s+OR\s+", license_expression)
        return all(re.search(r"(?<!L)GPL", choice) for choice in choices)
    named = [line for line in classifiers if line.startswith("License :: OSI Approved ::")]
    strict = [line for line in named if "General Public License" in line and "Lesser" not in line]
    return bool(strict) and strict == named


def licence_of(package: Distribution) -> tuple[str | None, list[str]]:
    def values(field: str) -> list[str]:
        return package.metadata.get_all(field) or []

    short = [text for text in values("License") if len(text.splitlines()) == 1]  # many put the whole text there
    return next(iter(values("License-Expression") + short), None), values("Classifier")


def files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in MADE or path.name.endswith(("_cache", ".egg-info")):
            continue
        if path.is_dir():
            yield from files(path)
        else:
            yield path


def texts() -> Iterator[tuple[str, str]]:
    """Every text file of the repository, by its path."""
    for path in files(ROOT):
        content = path.read_bytes()
        if b"\0" not in content:
            yield str(path.relative_to(ROOT)), content.decode()


def matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def make_commands(markdown: str) -> set[str]:
    """The targets of every `make TARGET` in code: in a fenced block, or between backticks."""
    fenced = re.findall(r"^```.*?^```", markdown, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`[^`\n]+`", re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE))
    command = r"(?:^[ \t]*|[`$;&][ \t]*)(?:[A-Z_]+=\S+[ \t]+)*make[ \t]+([a-z][a-z-]*)"
    return {target for code in fenced + inline for target in re.findall(command, code, re.MULTILINE)}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_packages_are_the_three_floors() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent for floor in ("data", "model", "tuner") for path in (ROOT / floor).rglob("*.py")}
    assert setuptools["packages"] == sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_no_runtime_dependency_is_under_the_gpl() -> None:
    installed = closure(PROJECT["dependencies"])
    assert len(installed) > len(PROJECT["dependencies"])  # the walk went further than the first step
    assert [name for name, package in installed.items() if is_copyleft(*licence_of(package))] == []


@pytest.mark.parametrize(
    ("expression", "classifiers", "copyleft"),
    [
        ("GPL-3.0-only", [], True),
        ("AGPL-3.0-or-later", [], True),
        ("MIT AND GPL-2.0-or-later", [], True),
        (None, ["License :: OSI Approved :: GNU General Public License v3 (GPLv3)"], True),
        (None, ["License :: OSI Approved :: GNU Affero General Public License v3"], True),
        ("MIT OR GPL-3.0-only", [], False),
        ("LGPL-2.1-or-later", [], False),
        ("Apache-2.0", [], False),
        (None, ["License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"], False),
        (
            None,
            ["License :: OSI Approved :: MIT License", "License :: OSI Approved :: GNU General Public License"],
            False,
        ),
        (None, [], False),
    ],
)
def test_the_gpl_is_told_from_other_licences(expression: str | None, classifiers: list[str], copyleft: bool) -> None:
    assert is_copyleft(expression, classifiers) == copyleft


def test_everything_that_is_installed_for_the_tests_is_pinned() -> None:
    extras = PROJECT["optional-dependencies"]
    installed = closure(PROJECT["dependencies"] + extras["dev"] + extras["benchmarks"])
    pinned = {canonicalize_name(Requirement(line).name) for line in pins()}
    of_pytorch = ("nvidia-", "cuda-", "triton")  # its GPU builds bring these, and pin them
    assert {name for name in installed if not name.startswith(of_pytorch)} - pinned == set()


def test_every_pin_is_one_exact_version_without_a_build() -> None:
    assert [line for line in pins() if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line)] == []


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"])
def test_a_stranger_finds(name: str) -> None:
    assert (ROOT / name).read_text().strip()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_in_the_text_is_a_target(name: str) -> None:
    commands = make_commands((ROOT / name).read_text())
    assert commands, f"{name} names no make command"
    assert commands - make_targets() == set()


def test_make_commands_are_read_from_code_and_not_from_prose() -> None:
    markdown = (
        "We make sure.\n```\n$ make search ARGS=1\nPYTHON=python3.12 make test\n```\nSay `make check`, not `remake it`."
    )
    assert make_commands(markdown) == {"search", "test", "check"}


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert matches(MACHINE_PATH) == []


def test_no_file_names_a_package_index() -> None:
    assert matches(INDEX_HOST) == []


@pytest.mark.parametrize("place", ["work/main", "root/.cache", "home/ann/data", "tmp/out"])
def test_a_folder_of_one_machine_is_found(place: str) -> None:
    assert MACHINE_PATH.search(f"see /{place} there")


@pytest.mark.parametrize("host", ["pypi" + ".org", "files.python" + "hosted.org", "down" + "load.pytorch.org"])
def test_a_package_index_is_found(host: str) -> None:
    assert INDEX_HOST.search(f"from {host}/simple")
