"""The environment makes itself, once, and says what is missing where it cannot. Python and pip are stood in for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("sh", "env", "dirname", "find", "cat", "cp", "rm", "mv", "mkdir", "awk", "chmod", "tail", "touch", "make")

# A Python as environment.sh meets it: its version, whether it has the venv module, and a pip that keeps a record of
# what it was asked for and fails where a file named pip.fails lies.
INTERPRETER = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit ;;
"-m pip") echo "$*" >> pip.log; [ ! -e pip.fails ] || echo "connection refused"; [ ! -e pip.fails ]; exit ;;
*ensurepip*) exit {without_venv} ;;
*sys.exit*) exit {too_old} ;;
*base_prefix*) echo "{version} /home-of-python" ;;
*) echo "{version}" ;;
esac
"""


class Machine:
    """A folder with the project's scripts, and a PATH on which there is only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.path = folder / "bin"
        self.project.mkdir()
        self.path.mkdir()
        for name in ("environment.sh", "Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy2(ROOT / name, self.project)
        for name in TOOLS:
            tool = shutil.which(name)
            assert tool is not None
            (self.path / name).symlink_to(tool)
        self.disk(free_gb=100)

    def program(self, name: str, script: str) -> None:
        self.path.joinpath(name).write_text(script)
        self.path.joinpath(name).chmod(0o755)

    def python(self, version: str, name: str = "python3", venv: bool = True) -> None:
        too_old = tuple(map(int, version.split("."))) < (3, 11)
        script = INTERPRETER.format(version=version, without_venv=int(not venv), too_old=int(too_old))
        self.program(name, script)

    def disk(self, free_gb: int) -> None:
        self.program("df", f"#!/bin/sh\necho header\necho disk 9 9 {free_gb * 1024 * 1024} 9% /\n")

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.project,
            env={"PATH": str(self.path), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def environment(self, kind: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("./environment.sh", kind, **variables)

    def pip_calls(self) -> list[str]:
        """What pip was asked to install since the last time this was asked."""
        log = self.project / "pip.log"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [call.split("constraints.txt")[1].split()[-1] for call in calls]

    def age(self) -> None:
        """An hour passes."""
        for path in self.project.rglob("*"):
            seconds = path.stat().st_mtime - 3600
            os.utime(path, (seconds, seconds))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_no_python_at_all_is_said(machine: Machine) -> None:
    result = machine.environment("runtime")
    assert result.returncode == 1
    assert "Python 3.11 or newer" in result.stderr
    assert "none can be run" in result.stderr


def test_a_python_that_is_too_old_is_named_with_its_version(machine: Machine) -> None:
    machine.python("3.9.18")
    result = machine.environment("runtime")
    assert result.returncode == 1
    assert "Python 3.11 or newer" in result.stderr
    assert "python3 is 3.9.18" in result.stderr
    assert not (machine.project / ".venv").exists()


def test_a_newer_python_under_another_name_is_taken(machine: Machine) -> None:
    machine.python("3.9.18")
    machine.python("3.12.4", name="python3.12")
    result = machine.environment("runtime")
    assert result.returncode == 0
    assert "with Python 3.12.4" in result.stdout


def test_the_named_python_is_the_only_one_tried(machine: Machine) -> None:
    machine.python("3.12.4")
    machine.python("3.10.1", name="python3.10")
    result = machine.environment("runtime", PYTHON="python3.10")
    assert result.returncode == 1
    assert "Tried python3.10: python3.10 is 3.10.1" in result.stderr


def test_a_python_without_the_venv_module_is_told_how_to_get_it(machine: Machine) -> None:
    machine.python("3.11.2", venv=False)
    result = machine.environment("runtime")
    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr
    assert not (machine.project / ".venv").exists()


def test_too_little_disk_is_said_before_anything_is_downloaded(machine: Machine) -> None:
    machine.python("3.11.2")
    machine.disk(free_gb=5)
    result = machine.environment("runtime")
    assert result.returncode == 1
    assert "about 6 GB" in result.stderr
    assert "there are 5 GB" in result.stderr
    assert machine.pip_calls() == []


def test_a_failing_pip_is_told_of_mirrors_and_leaves_nothing_that_looks_finished(machine: Machine) -> None:
    machine.python("3.11.2")
    (machine.project / "pip.fails").touch()
    result = machine.environment("runtime")
    assert result.returncode == 1
    assert "connection refused" in result.stderr
    assert "PIP_INDEX_URL" in result.stderr
    assert "PIP_EXTRA_INDEX_URL" in result.stderr
    (machine.project / "pip.fails").unlink()
    machine.pip_calls()
    assert machine.environment("runtime").returncode == 0
    assert machine.pip_calls() == ["torch", "."]


def test_the_steps_are_counted_on_plain_lines_where_there_is_no_terminal(machine: Machine) -> None:
    machine.python("3.11.2")
    lines = machine.environment("runtime").stdout.splitlines()
    assert [line[:6] for line in lines] == ["[1/3] ", "[2/3] ", "[3/3] "]


def test_what_is_complete_is_not_installed_again(machine: Machine) -> None:
    machine.python("3.11.2")
    machine.environment("dev")
    machine.pip_calls()
    assert machine.environment("dev").stdout == ""
    assert machine.environment("runtime").stdout == ""
    assert machine.pip_calls() == []


def test_the_tests_tools_are_added_to_an_environment_that_could_search(machine: Machine) -> None:
    machine.python("3.11.2")
    machine.environment("runtime")
    keepsake = machine.project / ".venv" / "keepsake"
    keepsake.touch()
    machine.pip_calls()
    assert machine.environment("dev").returncode == 0
    assert machine.pip_calls() == ["torch", ".[dev]", "trackeval"]
    assert keepsake.exists()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(machine: Machine, name: str) -> None:
    machine.python("3.11.2")
    machine.environment("dev")
    machine.age()
    machine.pip_calls()
    (machine.project / name).touch()
    (machine.project / "pip.fails").touch()
    assert machine.environment("dev").returncode == 1
    (machine.project / "pip.fails").unlink()
    machine.pip_calls()
    assert machine.environment("dev").returncode == 0
    assert machine.pip_calls() == ["torch", ".[dev]", "trackeval"]
    assert machine.environment("runtime").stdout == ""


def test_an_environment_whose_python_is_gone_or_another_is_made_anew(machine: Machine) -> None:
    machine.python("3.11.2")
    machine.environment("runtime")
    (machine.project / ".venv" / "bin" / "python").unlink()
    assert "with Python 3.11.2" in machine.environment("runtime").stdout
    machine.python("3.13.1", name="python3.13")
    assert machine.environment("runtime").stdout == ""
    assert "with Python 3.13.1" in machine.environment("runtime", PYTHON="python3.13").stdout
    assert machine.environment("runtime").stdout == ""


def test_a_copied_environment_is_made_anew(machine: Machine) -> None:
    machine.python("3.11.2")
    machine.environment("runtime")
    copy = machine.project.rename(machine.project.with_name("copy"))
    machine.project = copy
    assert "[1/3] Virtual environment: .venv with Python 3.11.2" in machine.environment("runtime").stdout


SPIKETUNE = """#!/bin/sh
echo "$1" >> commands.log
case "$1" in
simulate) mkdir -p "$2" && touch "$2/part" ;;
ingest) mkdir -p "$3" ;;
esac
[ "$1" != "$FAILS" ] || exit 1
[ "$1" != ingest ] || touch "$3/manifest.json"
"""


def spiketune_commands(machine: Machine, fails: str = "") -> list[str]:
    """Run `make search` with a stand-in for spiketune, one command of which may fail midway; what was run."""
    script = machine.project / ".venv" / "bin" / "spiketune"
    if not script.exists():
        machine.python("3.11.2")
        machine.environment("runtime")
        script.write_text(SPIKETUNE)
        script.chmod(0o755)
    result = machine.run("make", "search", FAILS=fails)
    assert (result.returncode != 0) == bool(fails)
    log = machine.project / "commands.log"
    commands = log.read_text().split()
    log.unlink()
    return commands


def test_make_search_simulates_and_ingests_only_what_is_missing(machine: Machine) -> None:
    assert spiketune_commands(machine) == ["simulate", "ingest", "search"]
    assert spiketune_commands(machine) == ["search"]
    shutil.rmtree(machine.project / "datasets" / "traffic")
    assert spiketune_commands(machine) == ["search"]
    shutil.rmtree(machine.project / "datasets" / "quickstart")
    assert spiketune_commands(machine) == ["simulate", "ingest", "search"]


def test_an_interrupted_simulation_or_ingestion_does_not_count_as_done(machine: Machine) -> None:
    assert spiketune_commands(machine, fails="simulate") == ["simulate"]
    assert not (machine.project / "datasets" / "traffic").exists()
    assert spiketune_commands(machine, fails="ingest") == ["simulate", "ingest"]
    assert spiketune_commands(machine) == ["ingest", "search"]


def test_make_alone_names_every_target(machine: Machine) -> None:
    shown = machine.run("make").stdout
    for target in ("env", "search", "test", "test-system", "test-cluster", "check", "docs", "clean"):
        assert f"make {target} " in shown
