"""The simulated dataset: its layout to the byte, its labels and its events."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from data.errors import ConfigError, InputError
from data.events import Events, SensorSize
from data.manifest import Split
from data.simulator.etram_writer import write_events
from data.simulator.traffic import Take, TrafficConfig, label_times, record, simulate, takes

SMALL = TrafficConfig(width=160, height=90, duration_s=2.0, train=2, val=1, test=0, night_share=0.5, frame_rate=200)
NAMES = {"train": ["train_day_0001", "train_night_0002"], "val": ["val_day_0001"]}
EVERY = [(split, name) for split, names in NAMES.items() for name in names]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset."""
    folder = tmp_path_factory.mktemp("traffic") / "made"
    reports: list[tuple[int, int, str]] = []
    simulate(folder, SMALL, progress=lambda done, total, name: reports.append((done, total, name)), processes=1)
    assert reports == [(1, 3, "train_day_0001"), (2, 3, "train_night_0002"), (3, 3, "val_day_0001")]
    return folder


def columns(target: Path, split: str, name: str) -> dict[str, npt.NDArray[np.integer]]:
    with h5py.File(target / "HDF5" / f"{split}_h5_1" / f"{name}_td.h5") as file:
        return {key: file["events"][key][:] for key in "xytp"}


def boxes(target: Path, folder: str, name: str) -> npt.NDArray[np.void]:
    table: npt.NDArray[np.void] = np.load(target / "HDF5" / folder / f"{name}_bbox.npy")
    return table


def test_the_files_are_those_of_etram(target: Path) -> None:
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    expected = set()
    for split, name in EVERY:
        expected |= {f"HDF5/{split}_h5_1/{name}_td.h5", f"HDF5/{split}_h5_1/{name}_bbox.npy"}
        expected.add(f"HDF5/eight_class_annotations_{split}/{name}_bbox.npy")
    assert found == expected


def test_events_have_etrams_types_and_compression(target: Path) -> None:
    with h5py.File(target / "HDF5/train_h5_1/train_day_0001_td.h5") as file:
        group = file["events"]
        assert {name: group[name].dtype.str for name in "xytp"} == {"x": "<u2", "y": "<u2", "t": "<i8", "p": "<i2"}
        assert {group[name].compression for name in "xytp"} == {"gzip"}
        assert len({len(group[name]) for name in "xytp"}) == 1
        assert (group["width"].shape, group["height"].shape) == ((), ())
        assert (group["width"][()], group["height"][()]) == (160, 90)


def test_box_rows_are_forty_bytes_with_etrams_offsets(target: Path) -> None:
    for folder in ("train_h5_1", "eight_class_annotations_train"):
        dtype = boxes(target, folder, "train_day_0001").dtype
        assert dtype.itemsize == 40
        assert dtype.fields is not None
        assert {name: (kind.str, offset) for name, (kind, offset, *_) in dtype.fields.items()} == {
            "t": ("<i8", 0),
            "x": ("<f4", 8),
            "y": ("<f4", 12),
            "w": ("<f4", 16),
            "h": ("<f4", 20),
            "class_id": ("<u4", 24),
            "track_id": ("<u4", 28),
            "class_confidence": ("<f4", 32),
        }


@pytest.mark.parametrize(("split", "name"), EVERY)
def test_events_are_sorted_and_inside_the_frame(target: Path, split: str, name: str) -> None:
    events = columns(target, split, name)
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"][0] >= 0
    assert events["t"][-1] <= 2_000_000
    assert events["x"].max() < 160
    assert events["y"].max() < 90
    assert set(np.unique(events["p"])) == {0, 1}


@pytest.mark.parametrize(("split", "name"), EVERY)
def test_boxes_lie_inside_the_frame_at_thirty_hertz(target: Path, split: str, name: str) -> None:
    rows = boxes(target, f"{split}_h5_1", name)
    assert len(rows) > 0
    assert (rows["x"] >= 0).all()
    assert (rows["y"] >= 0).all()
    assert (rows["w"] > 0).all()
    assert (rows["h"] > 0).all()
    assert (rows["x"] + rows["w"] <= 160).all()
    assert (rows["y"] + rows["h"] <= 90).all()
    assert (rows["class_confidence"] == 1).all()
    assert (np.diff(rows["t"]) >= 0).all()
    assert set(rows["t"]) <= {33_333, 66_667, 100_000} | {round(n / 30 * 1e6) for n in range(4, 61)}


def test_label_times_are_the_rounded_multiples_of_a_thirtieth_of_a_second() -> None:
    assert label_times(0.1) == [33_333, 66_667, 100_000]
    assert len(label_times(6.0)) == 180
    assert label_times(6.0)[-1] == 6_000_000


@pytest.mark.parametrize(("split", "name"), EVERY)
def test_the_three_and_the_eight_class_files_agree_but_for_the_class_numbers(
    target: Path, split: str, name: str
) -> None:
    three, eight = boxes(target, f"{split}_h5_1", name), boxes(target, f"eight_class_annotations_{split}", name)
    for field in ("t", "x", "y", "w", "h", "track_id", "class_confidence"):
        assert np.array_equal(three[field], eight[field])
    # etram8 pedestrian, car, bicycle, bus -> etram3 pedestrian, vehicle, micromobility, vehicle
    assert [{0: 0, 1: 1, 2: 2, 3: 1}[number] for number in eight["class_id"].tolist()] == three["class_id"].tolist()


@pytest.mark.parametrize(("split", "name"), EVERY)
def test_a_track_keeps_its_class_and_moves_smoothly(target: Path, split: str, name: str) -> None:
    rows = boxes(target, f"eight_class_annotations_{split}", name)
    lengths = []
    for track in np.unique(rows["track_id"]):
        mine = rows[rows["track_id"] == track]
        lengths.append(len(mine))
        assert len(set(mine["class_id"])) == 1
        assert len(set(mine["t"])) == len(mine)
        near = np.diff(mine["t"]) < 40_000
        bottom = np.diff(mine["y"] + mine["h"])[near]
        # A car's 0.92 frame heights a second at the largest scale are 4 px a label; pixels round by 1.
        assert np.abs(bottom).max(initial=0) <= 6
    assert np.median(lengths) >= 10


@pytest.mark.parametrize(("split", "name"), EVERY)
def test_events_concentrate_in_the_boxes(target: Path, split: str, name: str) -> None:
    events, rows = columns(target, split, name), boxes(target, f"{split}_h5_1", name)
    inside = np.zeros(2)  # events, pixels
    outside = np.zeros(2)
    for t_us in np.unique(rows["t"])[::5]:
        mask = np.zeros((90, 160), np.bool_)
        for row in rows[rows["t"] == t_us]:
            x, y, w, h = (int(row[field]) for field in ("x", "y", "w", "h"))
            mask[y : y + h, x : x + w] = True
        first, last = np.searchsorted(events["t"], [t_us - 20_000, t_us])
        hits = np.count_nonzero(mask[events["y"][first:last], events["x"][first:last]])
        inside += hits, np.count_nonzero(mask)
        outside += last - first - hits, np.count_nonzero(~mask)
    assert inside[0] / inside[1] > 4 * outside[0] / outside[1]


def test_night_is_noisier_where_nothing_moves(target: Path) -> None:
    counts = {}
    for name in NAMES["train"]:
        events = columns(target, "train", name)
        # The facades of the upper left corner: nobody gets there.
        counts[name] = np.count_nonzero((events["x"] < 45) & (events["y"] < 18))
    assert counts["train_night_0002"] > 1.5 * counts["train_day_0001"]


def test_the_same_seed_gives_the_same_files_whatever_else_is_made_and_in_however_many_processes(
    target: Path, tmp_path: Path
) -> None:
    simulate(tmp_path, SMALL.model_copy(update={"train": 1}), processes=2)
    for split, name in (("train", "train_day_0001"), ("val", "val_day_0001")):
        first, again = columns(target, split, name), columns(tmp_path, split, name)
        assert all(np.array_equal(first[key], again[key]) for key in "xytp")
        for folder in (f"{split}_h5_1", f"eight_class_annotations_{split}"):
            file = f"HDF5/{folder}/{name}_bbox.npy"
            assert (target / file).read_bytes() == (tmp_path / file).read_bytes()
    record(tmp_path / "other", SMALL.model_copy(update={"seed": 1, "duration_s": 0.5}), takes(SMALL)[0])
    other = columns(tmp_path / "other", "train", "train_day_0001")["t"]
    assert not np.array_equal(other[:1000], columns(target, "train", "train_day_0001")["t"][:1000])


def test_a_target_that_holds_recordings_is_refused(target: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    with pytest.raises(InputError, match=r"holds recordings already.*choose another folder"):
        simulate(target, SMALL, processes=1)
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before


def test_a_target_that_is_a_file_or_below_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        simulate(file, SMALL, processes=1)
    with pytest.raises(InputError, match="cannot write the recordings"):
        simulate(file / "below", SMALL, processes=1)


def test_a_recording_that_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[Events]:
        one = np.ones(1, np.uint16)
        yield Events(np.ones(1, np.int64), one, one, np.ones(1, np.uint8))
        raise RuntimeError("the lights went out")

    with pytest.raises(RuntimeError, match="lights"):
        write_events(tmp_path / "a_td.h5", SensorSize(4, 4), failing())
    assert list(tmp_path.iterdir()) == []


def test_every_fourth_recording_is_night_by_default() -> None:
    names = [take.name for take in takes(TrafficConfig(train=9, val=4, test=0))]
    assert [name for name in names if "night" in name] == ["train_night_0004", "train_night_0008", "val_night_0004"]
    assert takes(TrafficConfig(train=1, val=0, test=0)) == [Take(Split.TRAIN, 1, night=False)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 10}, "width: Input should be greater than or equal to 64"),
        ({"night_share": 1.5}, "night_share"),
        ({"camera": {"threshold": 0}}, "camera.threshold"),
        ({"densty": 3}, "did you mean 'density'"),
        ({"train": 0, "val": 0, "test": 0}, "at least one recording"),
    ],
)
def test_a_configuration_that_breaks_a_rule_names_it(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrafficConfig.parse(values, "traffic")
