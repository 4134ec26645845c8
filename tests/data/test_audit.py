"""The audit as a whole: every rule finds the fault that is planted for it, and clean recordings have none."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from data.audit.jobs import Done, Job, audit_all, on_this_machine
from data.audit.preflight import Audit, Options, audit
from data.audit.rules import RULES, Fault, Severity
from data.boxes import BOX_DTYPE
from data.errors import InputError
from data.events import SensorSize
from data.formats.discovery import find_recordings
from data.formats.label_scheme import read_labels
from data.manifest import Split
from data.storage import FolderStorage, open_storage

ROOT = Path(__file__).parents[2]
RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")
SIZE = SensorSize(64, 48)
ETRAM3 = Options(labels=read_labels("etram3"))
Columns = dict[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.void]


def clean_events(seed: int, duration_us: int = 1_000_000, rate: int = 60_000) -> Columns:
    """Even activity all over the sensor."""
    random = np.random.default_rng(seed)
    count = rate * duration_us // 1_000_000
    return {
        "t": np.sort(random.integers(0, duration_us, count)),
        "x": random.integers(0, SIZE.width, count).astype(np.uint16),
        "y": random.integers(0, SIZE.height, count).astype(np.uint16),
        "p": random.integers(0, 2, count).astype(np.int16),
    }


def clean_boxes(duration_us: int = 1_000_000) -> Rows:
    """One box of each class at 30 Hz."""
    rows = [
        (t, 10 * track, 10, 8, 8, track, track, 1.0) for t in range(33_333, duration_us, 33_333) for track in range(3)
    ]
    return np.array(rows, BOX_DTYPE)


def events_path(root: Path, split: str = "train", number: int = 1) -> Path:
    return root / "HDF5" / f"{split}_h5_1" / f"{split}_day_{number:04d}_td.h5"


def write_events(path: Path, columns: Columns, size: SensorSize = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[f"events/{name}"] = values
        file["events/width"], file["events/height"] = size


def write_boxes(path: Path, rows: Rows) -> None:
    np.save(path.with_name(path.name.replace("_td.h5", "_bbox.npy")), rows)


def add(root: Path, split: str = "train", number: int = 1, seed: int = 0) -> None:
    write_events(events_path(root, split, number), clean_events(seed))
    write_boxes(events_path(root, split, number), clean_boxes())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three clean recordings, one a split, in eTraM's layout."""
    for seed, split in enumerate(Split):
        add(tmp_path, split, seed=seed)
    return tmp_path


def change_events(root: Path, changed: Callable[[Columns], Columns], duration_us: int = 1_000_000) -> None:
    write_events(events_path(root), changed(clean_events(9, duration_us)))


def change_boxes(root: Path, changed: Callable[[Rows], Rows]) -> None:
    write_boxes(events_path(root), changed(clean_boxes()))


def kept(columns: Columns, rows: npt.NDArray[np.bool_]) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def with_field(rows: Rows, where: slice | int, **values: float) -> Rows:
    for name, value in values.items():
        rows[name][where] = value
    return rows


def with_column(columns: Columns, where: Any, **values: Any) -> Columns:
    for name, value in values.items():
        columns[name][where] = value
    return columns


def hole(columns: Columns) -> Columns:
    return kept(columns, (columns["t"] < 400_000) | (columns["t"] >= 420_000))


def bursts(columns: Columns) -> Columns:
    return columns | {"t": np.sort(columns["t"] // 33_333 * 33_333)}


def a_quiet_pause(columns: Columns) -> Columns:
    """Of 4 s only 0.3 s to 2.8 s are empty; what lies around fades away."""
    t = columns["t"]
    fades = np.random.default_rng(0).random(len(t)) < np.clip(np.abs(t - 1_550_000) / 1_250_000 - 1, 0, 1)
    return kept(columns, fades)


def a_second_sensor(root: Path) -> None:
    write_events(events_path(root), clean_events(0), SensorSize(65, 48))


def the_same_again(split: str, number: int) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        columns = clean_events(0)
        write_events(events_path(root, split, number), columns | {"t": columns["t"] + 500})

    return plant


def the_same_name(root: Path) -> None:
    path = events_path(root, "val")
    write_events(path.with_name("train_day_0001_td.h5"), clean_events(5))


def a_part(split: str, gap_us: int) -> Callable[[Path], None]:
    """The recording that goes on where train_day_0001 ends, under a name that differs by its number."""

    def plant(root: Path) -> None:
        columns = clean_events(7)
        first_us = int(clean_events(0)["t"][-1]) + 1 + gap_us
        path = events_path(root, split).with_name("train_day_0002_td.h5")
        write_events(path, columns | {"t": columns["t"] - columns["t"][0] + first_us})

    return plant


def rare_class(root: Path) -> None:
    rows = np.tile(with_field(clean_boxes(), slice(None), class_id=1), 40)
    rows["track_id"] = np.arange(len(rows))
    rows["class_id"][:3] = [0, 2, 2]
    rows["h"] = np.arange(len(rows)) % 30 + 1 + np.arange(len(rows)) / 10_000
    write_boxes(events_path(root), rows[np.argsort(rows["t"], kind="stable")])


def three_seconds_with_a_gap(root: Path) -> None:
    write_events(events_path(root), clean_events(9, 3_000_000))
    change_boxes(root, lambda rows: np.concatenate([rows, with_field(rows[-3:].copy(), slice(None), t=2_900_000)]))


def few_labels(root: Path) -> None:
    for split in Split:
        write_boxes(events_path(root, split), clean_boxes()[:6])


def remove_boxes(*splits: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        for split in splits:
            path = events_path(root, split)
            path.with_name(path.name.replace("_td.h5", "_bbox.npy")).unlink()

    return plant


def remove_split(split: str) -> Callable[[Path], None]:
    """Its recording goes to another split."""

    def plant(root: Path) -> None:
        events_path(root, split).rename(events_path(root, "val" if split == "train" else "train", 9))

    return plant


def spoil(root: Path, ending: str) -> None:
    path = events_path(root)
    path = path.with_name(path.name.replace("_td.h5", ending))
    path.write_bytes(path.read_bytes()[:200])


E_, W, N = Severity.ERROR, Severity.WARNING, Severity.NOTE
ALL, FIRST = None, "train/train_day_0001"
Plant = Callable[[Path], None]
# Every rule that a folder of recordings can break: how serious it is then, about what, and how to break it.
PLANTS: dict[str, tuple[Severity, str | None, Plant]] = {
    "unreadable": (E_, FIRST, lambda root: spoil(root, "_td.h5")),
    "unreadable-labels": (E_, FIRST, lambda root: spoil(root, "_bbox.npy")),
    "no-events": (E_, FIRST, lambda r: change_events(r, lambda c: with_column(c, slice(None), x=64))),
    "damaged-times": (E_, FIRST, lambda r: change_events(r, lambda c: with_column(c, -1, t=90_000_000_000))),
    "out-of-frame": (N, FIRST, lambda r: change_events(r, lambda c: with_column(c, 5, y=33_014))),
    "out-of-frame of many": (E_, FIRST, lambda r: change_events(r, lambda c: with_column(c, slice(1000), x=70))),
    "backward-times": (N, FIRST, lambda r: change_events(r, lambda c: with_column(c, 500, t=0))),
    "backward-times of many": (W, FIRST, lambda r: change_events(r, lambda c: with_column(c, slice(500, 600), t=0))),
    "time-gap": (W, FIRST, lambda r: change_events(r, hole)),
    "silence": (N, FIRST, lambda r: change_events(r, a_quiet_pause, 4_000_000)),
    "frame-rhythm": (W, FIRST, lambda r: change_events(r, bursts)),
    "one-polarity": (W, FIRST, lambda r: change_events(r, lambda c: with_column(c, slice(None), p=1))),
    "hot-pixels": (
        N,
        FIRST,
        lambda r: change_events(r, lambda c: with_column(c, slice(0, None, 50), x=30, y=20), 2_000_000),
    ),
    "hot-pixels of many": (
        W,
        FIRST,
        lambda r: change_events(r, lambda c: with_column(c, slice(0, None, 15), x=30, y=20), 2_000_000),
    ),
    "class-outside-set": (E_, FIRST, lambda r: change_boxes(r, lambda b: with_field(b, 4, class_id=5))),
    "label-clock": (E_, FIRST, lambda r: change_boxes(r, lambda b: with_field(b, slice(40, None), t=7_000_000))),
    "labels-outside-recording": (W, FIRST, lambda r: change_boxes(r, lambda b: with_field(b, -1, t=7_000_000))),
    "boxes-outside": (W, FIRST, lambda r: change_boxes(r, lambda b: with_field(b, 4, x=70))),
    "boxes-cut": (N, FIRST, lambda r: change_boxes(r, lambda b: with_field(b, 4, x=60))),
    "boxes-zero-size": (W, FIRST, lambda r: change_boxes(r, lambda b: with_field(b, 4, w=0))),
    "boxes-without-events": (
        N,
        FIRST,
        lambda r: change_events(r, lambda c: kept(c, (c["t"] < 905_000) | (c["x"] > 20))),
    ),
    "boxes-without-events of many": (
        W,
        FIRST,
        lambda r: change_events(r, lambda c: kept(c, (c["t"] < 105_000) | (c["x"] > 20))),
    ),
    "falling-label-times": (N, FIRST, lambda r: change_boxes(r, lambda b: b[::-1])),
    "duplicate-boxes": (W, FIRST, lambda r: change_boxes(r, lambda b: np.repeat(b, 2))),
    "irregular-labels": (
        N,
        FIRST,
        lambda r: change_boxes(r, lambda b: b[np.isin(b["t"] // 33_333 % 4, (0, 1, 2)) & (b["track_id"] < 3)]),
    ),
    "label-gap": (N, FIRST, three_seconds_with_a_gap),
    "no-boxes": (W, FIRST, remove_boxes("train")),
    "no-labels": (E_, ALL, remove_boxes("train", "val", "test")),
    "class-without-boxes": (W, ALL, lambda r: change_boxes(r, lambda b: b[b["class_id"] < 2])),
    "class-imbalance": (N, ALL, rare_class),
    "unlabelled-windows": (N, ALL, few_labels),
    "several-sensors": (E_, ALL, a_second_sensor),
    "split-leak": (E_, ALL, the_same_again("test", 7)),
    "duplicate-recording": (W, ALL, the_same_again("train", 7)),
    "same-name-in-splits": (E_, ALL, the_same_name),
    "parts-apart": (W, ALL, a_part("val", 10)),
    "hole-between-parts": (N, ALL, a_part("train", 20_000)),
    "no-train": (E_, ALL, remove_split("train")),
    "no-val": (W, ALL, remove_split("val")),
    "no-test": (N, ALL, remove_split("test")),
}
# Rules that take another layout, or a dataset, to break; each has a test of its own below.
ELSEWHERE = {"grouped-labels", "unexpected-sensor", "missing-shard", "damaged-shard", "left-out"}


def found(result: Audit, code: str) -> list[Fault]:
    return [finding for finding in result.findings if finding.code == code]


def test_every_rule_has_a_fault_planted_for_it() -> None:
    assert {name.split(" ")[0] for name in PLANTS} | ELSEWHERE == set(RULES)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(tree: Path, name: str) -> None:
    severity, recording, plant = PLANTS[name]
    plant(tree)
    result = audit(tree, ETRAM3)
    (finding,) = found(result, name.split(" ")[0])
    assert (finding.severity, finding.recording) == (severity, recording)
    assert finding.what
    assert finding.remedy
    assert result.failed == any(one.severity is Severity.ERROR for one in result.findings)


def test_clean_recordings_have_nothing_to_find(tree: Path) -> None:
    result = audit(tree, ETRAM3)
    assert result.findings == ()
    assert not result.failed
    assert [one.place for one in result.recordings] == [
        "train/train_day_0001",
        "val/val_day_0001",
        "test/test_day_0001",
    ]
    assert result.class_counts(Split.VAL) == [30, 30, 30]  # one of each class every 33.333 ms up to 999.990 ms


def test_numbers_in_the_findings_are_those_planted(tree: Path) -> None:
    columns = hole(clean_events(9))
    columns["y"][7] = 33_014
    write_events(events_path(tree), columns)
    t = columns["t"]
    place = int(np.argmax(np.diff(t)))
    result = audit(tree, ETRAM3)
    assert found(result, "time-gap")[0].what == (
        f"1 hole in the data, the longest {(t[place + 1] - t[place]) / 1000:.1f} ms from {t[place] / 1e6:.3f} s on"
    )
    assert "1 event outside the frame (1 in 5" in found(result, "out-of-frame")[0].what
    assert "1 of them with bit 15 flipped" in found(result, "out-of-frame")[0].what


def test_the_trap_of_three_classes_against_eight_is_explained(tree: Path) -> None:
    change_boxes(tree, lambda rows: with_field(rows, 3, class_id=6))
    (finding,) = found(audit(tree, ETRAM3), "class-outside-set")
    assert "class numbers up to 6 occur" in finding.what
    assert "1 is vehicle in one and car in the other" in finding.what
    assert "etram8" in finding.remedy


def test_only_grouped_numbers_in_eight_named_classes_are_doubted(tree: Path) -> None:
    for split in Split:
        boxes = events_path(tree, split).with_name(f"{split}_day_0001_bbox.npy")
        folder = tree / "HDF5" / f"eight_class_annotations_{split}"
        folder.mkdir()
        boxes.rename(folder / boxes.name)
    result = audit(tree, Options(labels=read_labels("etram8")))
    assert [finding.severity for finding in found(result, "grouped-labels")] == [Severity.WARNING]
    rows = with_field(clean_boxes(), 0, class_id=7)
    np.save(tree / "HDF5" / "eight_class_annotations_val" / "val_day_0001_bbox.npy", rows)
    assert found(audit(tree, Options(labels=read_labels("etram8"))), "grouped-labels") == []


def write_dat(path: Path, size: SensorSize, count: int = 2_000) -> None:
    columns = clean_events(0)
    words = columns["x"].astype(np.uint32) | columns["y"].astype(np.uint32) << 14 | columns["p"].astype(np.uint32) << 28
    rows = np.stack([columns["t"].astype(np.uint32), words], axis=1)[:count]
    head = f"% Version 2\n% Height {size.height}\n% Width {size.width}\n".encode()
    path.write_bytes(head + b"\x0c\x08" + rows.astype("<u4").tobytes())


def test_a_sensor_that_the_assumed_labels_do_not_fit_is_found(tmp_path: Path) -> None:
    write_dat(tmp_path / "a_td.dat", SensorSize(640, 480))
    (finding,) = found(audit(tmp_path), "unexpected-sensor")
    assert "640x480" in finding.what
    assert "304x240" in finding.what


def test_what_is_left_after_an_unreadable_recording_is_audited(tree: Path) -> None:
    spoil(tree, "_td.h5")
    result = audit(tree, ETRAM3)
    assert [one.events is not None for one in result.recordings] == [False, True, True]
    assert [finding.code for finding in result.findings if finding.severity is not Severity.NOTE] == ["unreadable"]


def test_one_process_and_two_find_the_same_and_tell_their_progress(tree: Path) -> None:
    change_events(tree, hole)
    told: list[Done] = []
    alone, together = audit(tree, ETRAM3, processes=1), audit(tree, ETRAM3, told.append, processes=2)
    assert alone.findings == together.findings
    assert [replace(one, read_s=0.0) for one in alone.recordings] == [
        replace(one, read_s=0.0) for one in together.recordings
    ]
    assert [done.recordings for done in told] == [1, 2, 3]
    assert {done.name for done in told} == {one.place for one in alone.recordings}
    assert told[-1].bytes == told[-1].of_bytes == sum(one.bytes for one in alone.recordings)


def test_a_place_without_recordings_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no recording"):
        audit(tmp_path)


def test_a_source_far_away_is_fetched_recording_by_recording_and_found_the_same(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_events(tree, hole)
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    far = audit(f"file://{tree}", ETRAM3)
    assert far.findings == audit(tree, ETRAM3).findings
    spoil(tree, "_bbox.npy")
    (finding,) = found(audit(f"file://{tree}", ETRAM3), "unreadable-labels")
    assert f"file://{tree}/HDF5/train_h5_1/train_day_0001_bbox.npy" in finding.what
    assert list(scratch.iterdir()) == []


def test_the_cost_counts_bytes_and_windows(tree: Path) -> None:
    spent = audit(tree, ETRAM3).cost
    assert spent is not None
    assert spent.dataset_gib == pytest.approx(3 * 60_000 * 4 / 2**30)
    assert spent.epoch_windows == 30
    assert spent.frames_gib == pytest.approx(30 * 4 * 2 * 64 * 64 / 2**30)  # T=4, 2 channels, 48 rows padded to 64
    assert 0 < spent.ingest_minutes < 1
    assert 0 < spent.epoch_minutes < 1


class _Deadly(FolderStorage):
    """A storage that ends the process it is sent to, as a decoder does that writes where it must not."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


def test_a_recording_that_ends_its_process_is_a_finding_and_the_others_are_audited(tree: Path) -> None:
    source = find_recordings(open_storage(tree).files(), str(tree), ETRAM3.labels)
    storages = [open_storage(tree), _Deadly(str(tree), tree, tree), open_storage(tree)]
    jobs = [
        Job(storage, finding.bytes, finding, source.scheme)
        for storage, finding in zip(storages, source.findings, strict=True)
    ]
    found_of = {one.place: one for one in audit_all(jobs, None, on_this_machine(2))}
    places = [f"{finding.split}/{finding.name}" for finding in source.findings]
    assert [found_of[place].events is not None for place in places] == [True, False, True]
    (finding,) = found_of[places[1]].faults
    assert (finding.code, finding.severity) == ("unreadable", Severity.ERROR)
    assert "ended the process" in finding.what
