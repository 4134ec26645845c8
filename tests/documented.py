"""The commands that the written pages tell a reader to type."""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
PROGRAMS = ("spiketune", "make", "ray", "python", "pip", "./environment.sh")


@dataclass(frozen=True)
class Documented:
    """A command line of a page."""

    page: str
    line: str  # from the program's name on, without a comment behind it

    @property
    def words(self) -> list[str]:
        return self.line.split()


def documented(text: str, page: str) -> list[Documented]:
    """The command lines in the blocks of code of a page, once each, in their order."""
    lines = [line for block in blocks(text) for line in block.splitlines()]
    found = [Documented(page, command) for line in lines if (command := _command(line))]
    return list(dict.fromkeys(found))


def blocks(text: str) -> Iterator[str]:
    """Blocks of code in no language, where commands stand."""
    for token in MarkdownIt().parse(text):
        if token.type == "code_block" or (
            token.type == "fence" and token.info.strip() in {"", "bash", "sh", "console"}
        ):
            yield token.content


def _command(line: str) -> str | None:
    """The command of a line, if it is one: not what a command prints."""
    line = re.sub(r"\s+#\s.*", "", line.strip().removeprefix("$ "))
    line = re.sub(r"^(?:[A-Z_]+=\S+\s+)+", "", line).removeprefix(".venv/bin/")
    return line if line.split(" ")[0] in PROGRAMS else None


def all_documented() -> list[Documented]:
    """Those of all pages."""
    return [found for page in PAGES for found in documented(page.read_text(encoding="utf-8"), page.name)]


# Covered by a test of its own, because the command needs what a sandbox has not: servers, hosts, an installation.
ELSEWHERE = {
    r"make search": "tests/test_environment.py::test_make_search_simulates_and_ingests_only_what_is_missing",
    r"make datasets/traffic": "tests/test_environment.py::test_make_search_simulates_and_ingests_only_what_is_missing",
    r"make [a-z-]+": "tests/test_environment.py::test_make_alone_names_every_target",
    r"\./environment\.sh cluster": "tests/test_cluster.py::test_every_machine_installs_the_project_as_pinned",
    r"ray .*": "tests/test_cluster.py::test_rays_own_schema_and_rules_accept_it",
    r"spiketune services .*": "tests/system/test_services.py::"
    "test_what_a_search_writes_with_the_clients_file_can_be_read_again",
    r"spiketune (submit-ingest|status ingest-|results ingest-).*": "tests/system/test_cluster_ingest.py::"
    "test_as_a_job_it_is_ingested_and_audited_and_tells_how_far_it_is",
    r"spiketune audit s3:.* --on-cluster": "tests/system/test_cluster_ingest.py::"
    "test_an_audit_on_the_cluster_finds_what_one_on_this_machine_does",
    r"spiketune (submit|jobs|logs|stop|resume|results|keep-jobs|status night-\w+)( .*)?": "tests/system/test_jobs.py::"
    "test_a_stopped_search_has_written_its_winner_and_is_left_alone",
    r"pip install .*": "tests/test_house.py::test_everything_that_is_installed_for_the_tests_is_pinned",
    r"python benchmarks/\w+\.py.*": "tests/test_documented_commands.py::test_documented_benchmarks_are_there",
    r"spiketune doctor.*": "tests/system/test_doctor.py::test_a_healthy_cluster_passes",
    r"spiketune ui --cluster .*": "tests/system/test_tunnel.py::"
    "test_mlflow_is_on_loopback_comes_back_after_a_cut_and_leaves_nothing",
    r"spiketune ui.*": "tests/system/test_browser.py::"
    "test_the_searchs_page_opens_with_the_answer_and_leads_to_the_winner",
    r"spiketune ingest s3:.*": "tests/system/test_s3.py::"
    "test_a_dataset_made_from_the_store_in_the_store_is_the_one_made_from_a_folder_in_a_folder",
    r"spiketune search .* s3:.*": "tests/system/test_s3.py::test_a_search_on_a_dataset_in_the_store_names_its_winner",
}
# Run on a tiny dataset by tests/test_documented_commands.py; the others by the file of that name in tests/system.
QUICK = {
    "simulate",
    "audit",
    "ingest",
    "data",
    "show",
    "train",
    "evaluate",
    "diagnose",
    "profile",
    "export",
    "cache",
    "detect",
}

PLACEHOLDERS = {
    "/data/eTraM": "recordings",
    "RECORDINGS": "recordings",
    "SOURCE": "recordings",
    "DATASET": "datasets/quickstart",
    "SPEC": "search_spaces/quickstart.yaml",
    "FOLDER": "made",
    "N": "2",
    "NAME|MY.yaml": "etram8",
    "RULE": "8:1:1",
    "WIDTHxHEIGHT": "96x64",
}
ABLATION = """\
name: small
base:
  data: {scale: 0.5, time_steps: 1}
  training: {epochs: 1, windows_per_epoch: 2, batch_size: 2, compile: "off"}
improvements:
  - {name: box, set: {loss.box: 3}}
seeds: 1
objective: {windows: 4}
variants:
  small: {seeds: 1}
"""
# What makes a documented command small. Options that come later win.
SMALL = {
    "simulate": "--train 1 --val 1 --test 1 --duration-s 1.2 --width 96 --height 64",
    "train": "--set training.epochs=1 --set training.windows_per_epoch=2 --set training.batch_size=2 "
    "--set training.compile=off --set data.time_steps=1",
    "profile": "--runs 1 --size 96x64",
    "ablate": "--seeds 1",
}


def elsewhere(command: Documented) -> str | None:
    """The test that covers a command which is not run here."""
    return next((test for pattern, test in ELSEWHERE.items() if re.fullmatch(pattern, command.line)), None)


def subcommand(command: Documented) -> str:
    """Of spiketune."""
    return command.words[1]


def is_quick(command: Documented) -> bool:
    """Whether it needs neither a search nor a registered model."""
    return subcommand(command) in QUICK and "models:/" not in command.line


@dataclass(frozen=True)
class Kit:
    """What commands are given: recordings, a dataset, a detector trained on it, and a search, where one was made."""

    recordings: Path
    dataset: Path
    checkpoint: Path
    search: Path | None = None


class Sandbox:
    """A folder in which the commands of one page are run in their order."""

    def __init__(self, folder: Path, kit: Kit, spec: str = "") -> None:
        self.folder = folder
        self.kit = kit
        self._spec = spec

    def arguments(self, command: Documented) -> list[str]:
        """The words behind `spiketune`, small, with all that they name in its place."""
        line = re.sub(r"[\[\]]", "", command.line.partition(" > ")[0])
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)[1:]]
        if words[0] == "ingest":
            self._put(self.kit.recordings, words[1])
            words[2] = "new" if command.words[3] == "DATASET" else words[2]
        elif words[0] != "simulate":
            for word in words[1:]:
                self._provide(word, ABLATION if words[0] == "ablate" else self._spec)
        small = SMALL.get(words[0], "").split()
        if words[0] == "profile" and "--data" in words:
            small = small[:2]
        return words + small

    def _provide(self, word: str, spec: str) -> None:
        if word == "recordings":
            self._put(self.kit.recordings, word)
        elif word.startswith("datasets/"):
            self._put(self.kit.dataset, word)
        elif self.kit.search is not None and re.fullmatch(r"runs/[\w-]+-\d{8}-\d{6}(/.*)?", word):
            self._put(self.kit.search, "/".join(word.split("/")[:2]))
        elif word.endswith(".h5"):
            self._put(next(self.kit.recordings.rglob("*_td.h5")), word)
        elif word.endswith("safetensors"):
            self._put(self.kit.checkpoint, word)
        elif word.endswith(("best.yaml", "config.yaml")):
            self._write(word, "loss.box: 5\n")
        elif word.endswith(".yaml"):
            self._write(word, spec)

    def _put(self, source: Path, word: str) -> None:
        target = self.folder / word
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    def _write(self, word: str, text: str) -> None:
        target = self.folder / word
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
