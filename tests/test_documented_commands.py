"""What the pages tell a reader to type is there, and works: each command is run, or a test that covers it is named.

Searches and what needs one are run by the file of this name in tests/system.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from tests.documented import (
    ELSEWHERE,
    PAGES,
    ROOT,
    Documented,
    Kit,
    Sandbox,
    all_documented,
    documented,
    elsewhere,
    is_quick,
    subcommand,
)
from tuner.cli import app
from tuner.spec.search_spec import load_spec

COMMANDS: click.Group = typer.main.get_command(app)  # type: ignore[assignment]
ALL = all_documented()
OURS = [command for command in ALL if command.words[0] == "spiketune"]
TO_RUN = [command for command in OURS if elsewhere(command) is None and is_quick(command)]
FOUND_SOMETHING = {"audit", "diagnose"}  # exit code 1: a fault was found, as in a net that learnt for one step


def run(folder: Path, arguments: list[str], allowed: tuple[int, ...] = (0,)) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code in allowed, f"spiketune {' '.join(arguments)}\n{done.output}\n{done.exception!r}"
    return done.output


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Made by the commands themselves."""
    folder = tmp_path_factory.mktemp("kit")
    empty = Sandbox(folder, Kit(folder / "recordings", folder / "dataset", folder / "run" / "best.safetensors"))
    for line in (
        "spiketune simulate recordings",
        "spiketune ingest recordings dataset --labels etram8",
        "spiketune train --data dataset --out run",
    ):
        run(folder, empty.arguments(Documented("", line)))
    return empty.kit


@pytest.mark.parametrize("page", sorted({command.page for command in TO_RUN}))
def test_the_commands_of_a_page_work_in_their_order(page: str, kit: Kit, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, kit)
    for command in (command for command in TO_RUN if command.page == page):
        run(tmp_path, sandbox.arguments(command), (0, 1) if subcommand(command) in FOUND_SOMETHING else (0,))


def options_of(command: Any) -> set[str]:
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    return flags | {"--help"}


def unknown(line: str) -> list[str]:
    """What a command line names that the command line interface has not."""
    words = re.sub(r"[\[\]()`]|\.\.\.", " ", line).split()[1:]
    command: Any = COMMANDS
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return [words[0]]
        command = command.commands[words.pop(0)]
    flags = {flag for word in words for flag in re.findall(r"^--[a-z-]+", word)}
    return sorted(flags - options_of(command))


def test_every_command_of_a_block_is_known_with_its_options() -> None:
    assert len(OURS) > 30
    assert {command.line: wrong for command in OURS if (wrong := unknown(command.line))} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_named_in_a_sentence_is_known_with_its_options(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    named = [code for code in re.findall(r"`([^`\n]+)`", text) if re.match(r"spiketune [a-z]", code)]
    assert {line: wrong for line in named if (wrong := unknown(line.replace("\\|", "|")))} == {}


def test_unknown_commands_and_options_are_found() -> None:
    assert unknown("spiketune serach x") == ["serach"]
    assert unknown("spiketune search SPEC --data D [--tirals N] [--resume]") == ["--tirals"]
    assert unknown("spiketune show D R [--out F.png\\|.mp4]") == []
    assert unknown("spiketune services star") == ["star"]
    assert unknown("spiketune services stop --address A") == ["--address"]
    assert unknown("spiketune services stop --state S") == []


def test_every_command_is_run_or_covered_by_a_test_that_is_there() -> None:
    for command in ALL:
        test = elsewhere(command)
        assert test or command.words[0] == "spiketune", f"{command.page}: '{command.line}' is run by no test"
    for test in ELSEWHERE.values():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_no_reason_to_leave_a_command_out_has_outlived_it() -> None:
    unused = [pattern for pattern in ELSEWHERE if not any(re.fullmatch(pattern, command.line) for command in ALL)]
    assert unused == []


def test_documented_benchmarks_are_there() -> None:
    for command in (command for command in ALL if command.line.startswith("python benchmarks/")):
        source = (ROOT / command.words[1]).read_text(encoding="utf-8")
        for option in re.findall(r"--[a-z-]+", command.line):
            assert f'"{option}"' in source, command.line


def test_commands_are_told_from_what_they_print() -> None:
    text = """
Say `spiketune best X`.

```
$ spiketune search a.yaml --data d # why
searching
RAY_ADDRESS=auto .venv/bin/spiketune ui
  spiketune best runs/x
next: spiketune evaluate x
```

    spiketune audit D

```yaml
spiketune data D
```
"""
    assert [command.line for command in documented(text, "x.md")] == [
        "spiketune search a.yaml --data d",
        "spiketune ui",
        "spiketune best runs/x",
        "spiketune audit D",
    ]


def specifications() -> Iterator[Any]:
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            if re.search(r"^name:", block, re.MULTILINE) and re.search(r"^space:", block, re.MULTILINE):
                yield pytest.param(block, id=page.name)


@pytest.mark.parametrize("text", list(specifications()))
def test_a_specification_on_a_page_can_be_searched(text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    assert len(load_spec(tmp_path / "spec.yaml").space.leaves) > 1


def test_the_example_of_the_programming_interface_runs(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL | re.MULTILINE)
    Sandbox(tmp_path, kit).arguments(Documented("", "spiketune evaluate best.safetensors --data datasets/quickstart"))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "api.md", "exec"), {})
    assert 0 <= float(capsys.readouterr().out) <= 1
