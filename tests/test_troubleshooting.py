"""docs/troubleshooting.md holds every message that the code can raise, each with a remedy, and no other."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from data.boxes import label_set
from data.dataset import Dataset
from data.errors import SpiketuneError
from data.formats.discovery import read_size
from data.ingest.ingest import IngestOptions, ingest
from data.storage import open_storage
from model.checkpoint import load_checkpoint
from model.trial_config import TrialConfig
from tests.error_messages import (
    HEADING,
    KEEP,
    PAGE,
    Message,
    as_pattern,
    messages,
    page_list,
    remedies,
    remedy,
    shown,
    without_text,
)
from tuner.domains import Real
from tuner.search_folder import read_identity
from tuner.space import Branch, Space

# Where an error passes on a text that another place has made, and that is listed from there or made by pydantic.
PASSED_ON = {
    "data/config.py",
    "data/ingest/run.py",
    "model/training/run_folder.py",
    "tuner/ablation/loading.py",
    "tuner/cli_sync.py",
    "tuner/jobs/asking.py",
    "tuner/parallel_trial.py",
    "tuner/spec/search_file.py",
    "tuner/spec/space_section.py",
}


def rows() -> list[str]:
    """The messages of the page."""
    found = re.findall(r"^\| (`+) ?(.*?) ?\1 \|", PAGE.read_text().partition(HEADING)[2], re.MULTILINE)
    return [what.replace("\\|", "|") for _, what in found]


def test_the_page_lists_the_messages_of_the_code() -> None:
    listed = PAGE.read_text().partition(HEADING)[2].strip()
    assert listed == page_list().strip(), "bring it up to date: python -m tests.error_messages"


def test_every_message_has_a_remedy() -> None:
    missing = [f"{message.module}: {message.text}" for message in messages() if not remedy(message)]
    assert missing == [], "end the message with `; REMEDY`, or add it to tests/error_remedies.yaml"


def test_no_remedy_is_for_a_message_that_is_gone() -> None:
    assert set(remedies()) - {message.text for message in messages()} == set()


def test_no_message_is_hidden_behind_a_variable() -> None:
    assert without_text() - PASSED_ON == set(), "write the text where the error is made, so that it can be listed"


def test_a_text_is_read_with_its_holes_named() -> None:
    text = ast.parse('f"{self._path}: {a.b!r} and {n + 1:,} of {STUDY_FILE}; " "mend it"', mode="eval").body
    assert shown(text) == "<path>: <b> and … of study.db; mend it"
    message = Message("data/formats/x.py", shown(text))
    assert message.parts == ("<path>: <b> and … of study.db", "mend it")
    assert message.chapter == "Recordings, boxes and label sets"


def test_a_message_without_a_remedy_is_found() -> None:
    assert remedy(Message("data/x.py", "the moon is full")) == ""
    assert remedy(Message("data/x.py", "the moon is full; …")) == ""
    assert remedy(Message("data/x.py", "the moon is full; wait")) == "wait"
    assert remedy(Message("data/x.py", "moons=<moons> must be at least 1")) == KEEP


MISTAKES: dict[str, Callable[[Path], object]] = {
    "no dataset": Dataset.open,
    "no checkpoint": lambda folder: load_checkpoint(folder / "none.safetensors"),
    "no search": read_identity,
    "no recording": lambda folder: ingest(folder, folder / "dataset", IngestOptions()),
    "label set": lambda _: label_set("etram4"),
    "size": lambda _: read_size("12by7"),
    "password": lambda _: open_storage("s3://me:secret@bucket/folder"),
    "range": lambda _: Real(3, 2),
    "condition": lambda _: Space([Branch("a", Real(0, 1), {"b": (1,)})]),
    "validator": lambda _: TrialConfig().with_leaves({"loss.obj": 2.0}, "here"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_message_as_a_user_meets_it_is_on_the_page(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpiketuneError) as raised:
        MISTAKES[name](tmp_path)
    met = str(raised.value)
    # A rule that pydantic tells comes after the place and the key that broke it.
    found = [row for row in rows() if as_pattern(row).match(met) or as_pattern(row).search(met.partition(": ")[2])]
    assert [row for row in found if re.search(r"\w{3}", row)], met


def test_what_is_not_on_the_page_matches_none_of_its_messages() -> None:
    assert [row for row in rows() if as_pattern(row).match("the moon is full")] == []
