"""Viewing: events and boxes of a recording at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from data.boxes import Boxes, LabelSet, label_set
from data.dataset import Dataset
from data.drawing import CAPTION, GREY, OFF, ON, WHITE, Colour, Image, track_colour
from data.errors import InputError
from data.events import Events, SensorSize
from data.formats.pedro import DAVIS346
from data.manifest import Split
from data.viewing import RecordingView, find_recording

SIZE = SensorSize(200, 100)  # shown four times as large
ZOOM = 4
START_US = 5_000_000  # a recording's clock does not begin at 0

Write = Callable[[Path, Sequence[Any], SensorSize, LabelSet], Dataset]


def boxes(*rows: tuple[int, float, float, float, float, int, int]) -> Boxes:
    """Rows t, x, y, w, h, class, track; t from the recording's start."""
    table = np.array(rows, np.float64).reshape(-1, 7)
    return Boxes(
        table[:, 0].astype(np.int64) + START_US,
        table[:, 1:5].astype(np.float32),
        table[:, 5].astype(np.int64),
        table[:, 6].astype(np.int64),
    )


def a_second_of_events() -> Events:
    """One event a millisecond from 0 to 1 s, ON, in row 10: in column t / 5 ms."""
    t = np.arange(0, 1_000_001, 1000)
    x = np.minimum(t // 5000, 199).astype(np.uint16)
    return Events(t + START_US, x, np.full(len(t), 10, np.uint16), np.ones(len(t), np.uint8))


LABELS = boxes(
    (200_000, 20, 50, 30, 20, 0, 7),
    (400_000, 60, 50, 30, 20, 0, 7),
    (400_000, 150, 40, 20, 30, 1, 3),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, make_take: Any, write_dataset: Write) -> Dataset:
    takes = [
        make_take("crossing_0001", Split.TRAIN, a_second_of_events(), LABELS),
        make_take("crossing_0002", Split.VAL, a_second_of_events(), Boxes.empty()),
        make_take("twice", Split.TRAIN, a_second_of_events(), Boxes.empty()),
        make_take("twice", Split.VAL, a_second_of_events(), Boxes.empty()),
    ]
    return write_dataset(tmp_path_factory.mktemp("viewing"), takes, SIZE, label_set("gen1"))


def view(dataset: Dataset, name: str = "crossing_0001", window_us: int = 50_000) -> RecordingView:
    return RecordingView(find_recording(dataset, name), dataset.label_set.classes, window_us)


def places(image: Image, colour: Colour) -> npt.NDArray[np.intp]:
    """Rows and columns below the caption of this colour."""
    return np.argwhere((image[CAPTION:] == colour).all(axis=2))


def outlined(image: Image, track: int, x: float, y: float, w: float, h: float) -> bool:
    """Whether the sides of a box, in sensor pixels, have the colour of its track."""
    coloured = (image[CAPTION:] == track_colour(track)).all(axis=2)
    x1, y1, x2, y2 = (round(side * ZOOM) for side in (x, y, x + w, y + h))
    sides = (coloured[y2, x1:x2], coloured[y1:y2, x1], coloured[y1:y2, x2], coloured[y1, x1:x2])
    return all(side.all() for side in sides)


def thickness(image: Image, track: int, x: float, y: float, w: float, h: float) -> int:
    """Pixels across the right side of a box, in its middle."""
    column = round((x + w) * ZOOM)
    coloured = (image[CAPTION:] == track_colour(track)).all(axis=2)[round((y + h / 2) * ZOOM)]
    return int(coloured[column - 5 : column + 5].sum())


def test_a_picture_shows_the_events_of_the_window_before_its_time(dataset: Dataset) -> None:
    shown = places(view(dataset, window_us=100_000).picture(0.5), ON)
    # Events of (0.4 s, 0.5 s]: the last in column 100, the first, of 0.401 s, in column 80.
    assert (shown[:, 1].min() // ZOOM, shown[:, 1].max() // ZOOM) == (80, 100)
    assert set(shown[:, 0] // ZOOM) == {10}
    assert len(places(view(dataset).picture(0.5), OFF)) == 0


def test_at_a_label_time_boxes_are_drawn_thick_where_they_were_labelled(dataset: Dataset) -> None:
    image = view(dataset).picture(0.4)
    assert outlined(image, 7, 60, 50, 30, 20)
    assert outlined(image, 3, 150, 40, 20, 30)
    assert thickness(image, 7, 60, 50, 30, 20) >= 2


def test_between_label_times_a_track_lies_on_the_line_between_and_is_drawn_thin(dataset: Dataset) -> None:
    image = view(dataset).picture(0.25)  # a quarter of the way from x = 20 to x = 60
    assert outlined(image, 7, 30, 50, 30, 20)
    assert thickness(image, 7, 30, 50, 30, 20) == 1
    assert len(places(image, track_colour(3))) == 0


@dataclass(frozen=True)
class Answers:
    """What a detector found, with its scores."""

    boxes: Boxes
    scores: npt.NDArray[np.float32]


FOUND = Answers(
    boxes((390_000, 62, 51, 30, 20, 0, 12), (420_000, 64, 52, 30, 20, 0, 12), (420_000, 110, 20, 16, 16, 1, 0)),
    np.array([0.9, 0.8, 0.4], np.float32),
)


def test_what_a_detector_found_last_is_drawn_in_the_colours_of_its_tracks_and_labels_in_grey(
    dataset: Dataset,
) -> None:
    over = view(dataset).over(FOUND)
    image = over.picture(0.4)
    assert outlined(image, 12, 62, 51, 30, 20)
    assert thickness(image, 12, 62, 51, 30, 20) >= 2
    assert len(places(image, GREY)) > 100
    assert len(places(image, track_colour(7))) == 0  # the label's own track
    later = over.picture(0.43)
    assert outlined(later, 12, 64, 52, 30, 20)
    assert outlined(later, 0, 110, 20, 16, 16)


@pytest.mark.parametrize("at_s", [0.38, 0.471])  # before anything was found, and 51 ms after the last
def test_what_a_detector_found_long_ago_is_not_drawn(dataset: Dataset, at_s: float) -> None:
    assert len(places(view(dataset).over(FOUND).picture(at_s), track_colour(12))) == 0


@pytest.mark.parametrize("at_s", [0.1, 0.7])
def test_where_nothing_is_known_no_box_is_drawn(dataset: Dataset, at_s: float) -> None:
    image = view(dataset).picture(at_s)
    assert len(places(image, track_colour(7))) + len(places(image, track_colour(3))) == 0


def test_the_busiest_time_is_the_label_time_with_most_boxes_and_without_labels_the_middle(dataset: Dataset) -> None:
    assert view(dataset).busiest_s() == 0.4
    assert view(dataset, "crossing_0002").busiest_s() == 0.5


def test_a_clip_runs_at_25_images_a_second_as_far_as_the_recording_goes(dataset: Dataset) -> None:
    assert len(list(view(dataset).clip(0.1, 0.4))) == 10
    assert len(list(view(dataset).clip(0.9, 5))) == 3  # 0.90, 0.94, 0.98
    assert len(list(view(dataset).clip(1.0, 5))) == 1


def test_in_a_clip_a_label_holds_for_the_first_image_after_it(dataset: Dataset) -> None:
    images = list(view(dataset).clip(0.17, 0.12))  # 0.17, 0.21, 0.25
    assert not outlined(images[0], 7, 20, 50, 30, 20)
    assert outlined(images[1], 7, 20, 50, 30, 20)
    assert outlined(images[2], 7, 30, 50, 30, 20)


@pytest.mark.parametrize(("seconds", "start"), [(0.2, 0.3), (0.9, 0.0), (5.0, 0.0)])
def test_a_clip_has_the_busiest_time_in_its_middle_where_the_recording_allows(
    dataset: Dataset, seconds: float, start: float
) -> None:
    assert view(dataset).clip_start_s(seconds) == pytest.approx(start)


@pytest.mark.parametrize("at_s", [-0.001, 1.001])
def test_a_time_outside_the_recording_is_refused_with_its_span(dataset: Dataset, at_s: float) -> None:
    with pytest.raises(InputError, match=rf"'crossing_0001' goes from 0 to 1.000 s, and {at_s} s lies outside"):
        view(dataset).picture(at_s)
    with pytest.raises(InputError, match="lies outside"):
        view(dataset).clip(at_s, 1)


def test_an_unknown_recording_is_answered_with_the_nearest(dataset: Dataset) -> None:
    with pytest.raises(InputError, match=r"'crossing_001' does not exist; did you mean crossing_0001 or crossing_0002"):
        find_recording(dataset, "crossing_001")
    with pytest.raises(InputError, match=r"there are crossing_0001, twice, crossing_0002, twice"):
        find_recording(dataset, "zzz")


def test_a_name_of_two_splits_wants_its_split(dataset: Dataset) -> None:
    with pytest.raises(InputError, match=r"in several splits; name one of: train/twice, val/twice"):
        find_recording(dataset, "twice")
    assert find_recording(dataset, "val/twice").split is Split.VAL


PEDRO = Path(__file__).parents[3] / "shared" / "recordings" / "pedro"


@pytest.mark.skipif(not PEDRO.exists(), reason="the real recordings (../shared/recordings) are not here")
@pytest.mark.parametrize("name", ["frame0000009", "frame0000092", "frame0001566", "frame0013230", "frame0017525"])
def test_real_events_and_boxes_are_drawn_where_the_files_have_them(
    tmp_path: Path, make_take: Any, write_dataset: Write, name: str
) -> None:
    # Read here by hand, since where events lie in a picture is in question.
    t, x, y, p = np.load(PEDRO / "numpy" / f"{name}.npy").astype(np.int64).T
    corners = hand_read_boxes((PEDRO / "xml" / f"{name}.xml").read_text())
    rows = [(t[-1] - START_US, x1, y1, x2 - x1, y2 - y1, 0, 5 * k) for k, (x1, y1, x2, y2) in enumerate(corners)]
    events = Events(t, x.astype(np.uint16), y.astype(np.uint16), (p > 0).astype(np.uint8))
    take = make_take(name, Split.TRAIN, events, boxes(*rows))
    dataset = write_dataset(tmp_path / "dataset", [take], DAVIS346, label_set("pedro"))
    image = view(dataset, name).picture(view(dataset, name).busiest_s())
    happened = np.zeros((DAVIS346.height, DAVIS346.width), bool)
    happened[y, x] = True
    happened = happened.repeat(3, axis=0).repeat(3, axis=1)
    below = image[CAPTION:]
    seen = (below == ON).all(axis=2) | (below == OFF).all(axis=2)
    drawn_over = ~seen & (below != WHITE).any(axis=2)
    assert not (seen & ~happened).any()
    hidden = happened & ~seen & ~drawn_over
    for x1, y1, _, y2 in corners:  # behind the white letters above or below a box
        for row in (3 * y1 - 25, 3 * y2):
            hidden[max(row, 0) : row + 25, max(3 * x1 - 80, 0) : 3 * x1 + 80] = False
    assert not hidden.any()
    for x1, y1, x2, y2 in corners:  # inside its outline, most of a box is left as it was
        assert drawn_over[3 * y1 + 30 : 3 * y2 - 30, 3 * x1].all()
        assert drawn_over[3 * y1 + 3 : 3 * y2 - 3, 3 * x1 + 3 : 3 * x2 - 3].mean() < 0.1


def hand_read_boxes(xml: str) -> list[tuple[int, ...]]:
    edges = [xml.split(f"<{edge}>")[1:] for edge in ("xmin", "ymin", "xmax", "ymax")]
    return [tuple(int(float(text.split("<")[0])) for text in box) for box in zip(*edges, strict=True)]
