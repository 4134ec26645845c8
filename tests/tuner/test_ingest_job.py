"""Ingestions as jobs: what is sent, what is told of them, and nodes that do not see the data."""

import json
from pathlib import Path

import pytest

from data.audit.jobs import Done
from data.errors import InputError
from data.formats.discovery import find_recordings
from data.formats.label_scheme import read_labels
from data.ingest.place import is_seen, own_scratch, work_place
from data.ingest.progress import IngestProgress
from data.ingest.work import Job
from data.storage import open_storage
from tests.tuner.tiny_dataset import make_dataset
from tuner.cluster_ingest import _ingest_one
from tuner.ingest_progress import ProgressFile
from tuner.jobs import ingest_job
from tuner.jobs.ingest_order import LABELS_FILE, ingest_order
from tuner.jobs.kinds import Work, kind_of

LABELS = """\
name: two
classes: [person, car]
"""


def test_an_order_says_what_is_to_be_done_and_carries_a_file_of_labels(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(LABELS)
    order = ingest_order("s3://b/recordings", "/mnt/nfs/dataset", labels=str(tmp_path / "mine.yaml"), split="8:1:1")
    assert order.name == "ingest"
    assert order.files == {LABELS_FILE: LABELS.encode()}
    assert order.settings == {
        "source": "s3://b/recordings", "dataset": "/mnt/nfs/dataset", "labels": None, "split": "8:1:1", "size": None,
        "processes": None, "skip_damaged": False,
    }  # fmt: skip
    assert kind_of(order) is ingest_job


@pytest.mark.parametrize(
    ("source", "dataset", "options", "told"),
    [
        ("recordings", "s3://b/d", {}, "SOURCE recordings: is relative"),
        ("s3://b/r", "dataset", {}, "DATASET dataset: is relative"),
        ("s3://b/r", "s3://b/d", {"split": "often"}, "often"),
        ("s3://b/r", "s3://b/d", {"size": "large"}, "large"),
        ("s3://b/r", "s3://b/d", {"labels": "etram4"}, "etram4"),
        ("s3://b/r", "s3://b/d", {"processes": 0}, "--processes 0: must be at least 1"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    source: str, dataset: str, options: dict[str, str], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        ingest_order(source, dataset, **options)  # type: ignore[arg-type]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work("ingest-0123456789", ingest_order("s3://b/r", "s3://b/d"), tmp_path / "package", tmp_path)


def test_how_far_it_is_can_be_read_while_it_works_and_what_it_made_afterwards(work: Work) -> None:
    with pytest.raises(InputError, match="has not begun yet"):
        ingest_job.status(work)
    folder = ingest_job.folder_of(work)
    folder.mkdir(parents=True)
    kept = ProgressFile(folder / ingest_job.PROGRESS_FILE)
    kept.ingested(IngestProgress(2_500, 10_000, 10**9, 2e8, 0.25, 7_260.0, news="r7: is damaged"))
    told = ingest_job.status(work)
    assert told.values["done"] == 2_500
    assert told.text.splitlines() == [
        "ingest: 2,500/10,000 recordings, 25% of the bytes, 200.0 M events/s, 2 h 1 min left",
        "  r7: is damaged",
    ]
    with pytest.raises(InputError, match="has made no dataset yet"):
        ingest_job.results(work)
    kept.has_made(["9,999 recordings in s3://b/d"])
    kept.audited(Done("train/r1", 1, 9_999, 10, 100))
    kept.done()
    finding = {"severity": "warning", "what": "no recording is in split 'test'"}
    (folder / ingest_job.AUDIT_FILE).write_text(json.dumps({"findings": [finding]}))
    assert ingest_job.status(work).text.splitlines()[0] == "done: 1/9,999 recordings"
    assert ingest_job.results(work).text.splitlines() == [
        "9,999 recordings in s3://b/d", "audit: warning: no recording is in split 'test'",
    ]  # fmt: skip
    assert ingest_job.files(work) == [folder / ingest_job.AUDIT_FILE]


def test_a_node_that_does_not_see_the_data_says_so_instead_of_calling_them_damaged(tmp_path: Path) -> None:
    make_dataset(tmp_path / "source", tmp_path / "dataset")
    source, target = open_storage(tmp_path / "source"), open_storage(tmp_path / "target")
    found = find_recordings(source.files(), source.location, read_labels("etram3"), None, None)
    job = Job(found.findings[0], found.scheme, "", source, target, tmp_path / "scratch", None)
    with pytest.raises(InputError, match=r"target: is not there on node .*; mount the folder on every node"):
        _ingest_one((0, job, None))
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"_td\.h5: is not there on node"):
        _ingest_one((0, job, None))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_target_is_seen_while_its_ingestion_goes_on(scheme: str, tmp_path: Path) -> None:
    target = open_storage(f"{scheme}{tmp_path}/target")
    assert not is_seen(target)
    with work_place(target):
        assert is_seen(target)
        assert not is_seen(open_storage(tmp_path / "elsewhere"))


def test_what_a_killed_process_left_in_the_scratch_folder_is_removed_by_the_next_one(tmp_path: Path) -> None:
    with own_scratch(tmp_path) as mine:
        mine.mkdir()
        here = mine.name.partition("-")[0]
        (tmp_path / f"{here}-4194305" / "train").mkdir(parents=True)  # beyond the largest number of a process
        (tmp_path / "another0machine0-4194305").mkdir()
        with own_scratch(tmp_path) as again:
            assert again == mine
        assert sorted(path.name for path in tmp_path.iterdir()) == ["another0machine0-4194305"]


def test_an_ingestion_has_no_trials_whose_errors_could_be_told(work: Work) -> None:
    with pytest.raises(InputError, match="ingest-0123456789: is an ingestion, which has no trials"):
        kind_of(work.order).trial_errors(work, 3)
