"""Audits of datasets, of the simulator's recordings and of real ones; and the page that tells the rules."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.audit.preflight import Audit, Options, audit
from data.audit.rules import RULES, Severity
from data.boxes import LabelSet, label_set
from data.dataset import Dataset
from data.errors import InputError
from data.events import SensorSize
from data.formats.discovery import read_size
from data.formats.label_scheme import read_labels
from data.ingest.ingest import IngestOptions, ingest
from data.manifest import LeftOut, Manifest, Split
from data.simulator.traffic import TrafficConfig, simulate
from data.storage import open_storage

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")
TRAFFIC = TrafficConfig(width=96, height=64, duration_s=1.0, train=2, val=1, test=1, density=2)
# What depends on who happens to drive by within a second, and the hot pixels that the simulated camera has.
BY_CHANCE = {"class-without-boxes", "class-imbalance", "boxes-without-events", "boxes-cut", "hot-pixels", "no-boxes"}


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traffic")
    simulate(folder, TRAFFIC, processes=1)
    return folder


@pytest.fixture(scope="module")
def ingested(traffic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dataset") / "dataset"
    ingest(traffic, target, IngestOptions(labels="etram3", processes=1))
    return target


@pytest.fixture
def dataset(ingested: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    for path in ingested.rglob("*"):
        if path.is_file():
            copy = tmp_path / "dataset" / path.relative_to(ingested)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path / "dataset"


def serious(result: Audit) -> set[str]:
    return {finding.code for finding in result.findings if finding.severity is not Severity.NOTE}


def test_simulated_recordings_are_sound(traffic: Path) -> None:
    result = audit(traffic, Options(labels=read_labels("etram3")))
    assert serious(result) <= BY_CHANCE
    assert {finding.code for finding in result.findings} <= BY_CHANCE
    assert not result.failed


def test_a_dataset_says_of_its_recordings_what_their_source_said(traffic: Path, ingested: Path) -> None:
    raw, packed = audit(traffic, Options(labels=read_labels("etram3"))), audit(ingested)
    assert [one.events for one in packed.recordings] == [one.events for one in raw.recordings]
    for one, other in zip(raw.recordings, packed.recordings, strict=True):
        assert one.boxes is not None
        assert other.boxes is not None
        assert (one.boxes.boxes, one.boxes.cut, one.boxes.times) == (
            other.boxes.boxes,
            other.boxes.cut,
            other.boxes.times,
        )
        assert one.boxes.without_events == other.boxes.without_events
    assert packed.is_dataset
    assert packed.cost is None


def test_a_missing_and_a_damaged_shard_are_named_with_the_command_that_makes_them_anew(dataset: Path) -> None:
    first, second = sorted((dataset / "train").glob("*.arrow"))
    first.unlink()
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    result = audit(dataset)
    told = {finding.code: finding for finding in result.findings}
    assert told["missing-shard"].recording == f"train/{first.stem}"
    assert f"--rebuild train/{first.stem}" in told["missing-shard"].remedy
    assert told["damaged-shard"].recording == f"train/{second.stem}"
    assert f"--rebuild train/{second.stem}" in told["damaged-shard"].remedy
    assert [one.events is not None for one in result.recordings] == [False, False, True, True]
    assert result.failed


def test_what_ingest_left_out_is_told(dataset: Path) -> None:
    storage = open_storage(dataset)
    left = LeftOut(name="b", split=Split.VAL, source="b_td.h5", bytes=1, reason="b_td.h5: is cut short")
    Manifest.read(storage).model_copy(update={"left_out": (left,)}).write(storage)
    (finding,) = (finding for finding in audit(dataset).findings if finding.code == "left-out")
    assert (finding.severity, finding.recording, finding.what) == (Severity.WARNING, "val/b", left.reason)


def test_a_dataset_without_a_split_to_validate_on_cannot_be_searched(
    tiny_dataset: Dataset,
    make_take: Any,
    write_dataset: Callable[[Path, Sequence[Any], SensorSize, LabelSet], Dataset],
    tmp_path: Path,
) -> None:
    takes = [
        make_take(one.name, Split.TRAIN, one.events(0, 10**7), one.boxes) for one in tiny_dataset.shards(Split.TRAIN)
    ]
    result = audit(write_dataset(tmp_path, takes, tiny_dataset.size, label_set("gen1")).location)
    assert [finding.severity for finding in result.findings if finding.code == "no-val"] == [Severity.ERROR]


def test_a_dataset_far_away_is_audited_as_one_at_hand(
    ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKETUNE_CACHE", str(tmp_path / "cache"))
    far, near = audit(f"file://{ingested}"), audit(ingested)
    assert far.findings == near.findings
    assert [one.events for one in far.recordings] == [one.events for one in near.recordings]


def test_a_dataset_takes_no_option(ingested: Path) -> None:
    with pytest.raises(InputError, match="is a dataset"):
        audit(ingested, Options(labels=read_labels("etram3")))


@real
def test_the_hole_between_the_parts_of_gen1_is_found_and_none_within_them() -> None:
    result = audit(RECORDINGS / "gen1")
    spans, longest = [], []
    for path in sorted((RECORDINGS / "gen1").glob("*.dat")):
        content = path.read_bytes()
        header = re.match(rb"(?:%[^\n]*\n)*", content)
        assert header is not None
        t = np.frombuffer(content[header.end() + 2 :], "<u4")[::2].astype(np.int64)
        spans.append((t[0], t[-1]))
        longest.append(np.diff(t).max())
    assert max(longest) < 100  # µs: within the parts not one silence
    assert all(one.events is not None and one.events.gaps.count == 0 for one in result.recordings)
    missing_us = [int(after[0] - before[1] - 1) for before, after in pairwise(spans)]
    assert missing_us == [0, 20_001]
    (finding,) = (finding for finding in result.findings if finding.code == "hole-between-parts")
    assert "20.0 ms between train/gen1_part1 and train/gen1_part2" in finding.what
    assert [(one.events.first_us, one.events.last_us) for one in result.recordings if one.events] == spans


@real
def test_real_windows_with_official_boxes_are_sound() -> None:
    result = audit(RECORDINGS / "pedro")
    assert serious(result) == {"no-val"}
    assert sum(one.boxes.boxes for one in result.recordings if one.boxes is not None) == 9
    assert sum(one.boxes.without_events for one in result.recordings if one.boxes is not None) == 0


@real
@pytest.mark.parametrize(
    ("file", "size", "events", "on"),
    [
        ("codecs_evt3_trigger.raw", None, 82_469, 41_439),
        ("evt2.raw", "640x480", 521_252, 185_861),
        ("davis.aedat4", None, 117_667, 72_363),
    ],
)
def test_real_recordings_of_other_cameras_are_counted_and_have_no_hole(
    tmp_path: Path, file: str, size: str | None, events: int, on: int
) -> None:
    (tmp_path / file).symlink_to(RECORDINGS / "raw" / file)
    options = Options(labels=read_labels("gen1"), size=None if size is None else read_size(size))
    result = audit(tmp_path, options)
    (one,) = result.recordings
    assert one.events is not None
    assert (one.events.events, round(one.events.on_share * events)) == (events, on)
    assert serious(result) == {"no-labels", "no-val"}


def test_the_page_tells_every_rule_and_no_other() -> None:
    page = (ROOT / "docs" / "audit.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+)", page, re.MULTILINE))
    assert rows.keys() == RULES.keys()
    for code, told in rows.items():
        severities = {RULES[code].severity, RULES[code].graver} - {None}
        assert {severity for severity in Severity if severity in told} == severities, code
