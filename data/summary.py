"""A dataset in numbers: what its splits, classes and recordings hold."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.manifest import Split
from data.shards import Shard

Counts = npt.NDArray[np.int64]  # [K] boxes of each class


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """One recording in numbers."""

    name: str
    split: Split
    night: bool | None  # None where the name does not tell
    events: int
    duration_s: float
    bytes: int
    label_times_us: npt.NDArray[np.int64]  # [L] from the recording's start, each once
    boxes_us: npt.NDArray[np.int64]  # [N] each box's time, from the recording's start
    classes: npt.NDArray[np.int64]  # [N]
    sides: npt.NDArray[np.float32]  # [N] px, root of the area

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.duration_s

    def intervals_us(self) -> npt.NDArray[np.int64]:
        """The time between one label time and the next."""
        return np.diff(self.label_times_us)


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """Recordings of one split, or of all, in numbers."""

    name: str
    recordings: tuple[RecordingSummary, ...]
    classes: int  # K

    @property
    def light(self) -> dict[str, int]:
        """How many recordings are of day, of night, and of neither by name."""
        nights = [recording.night for recording in self.recordings]
        return {"day": nights.count(False), "night": nights.count(True), "unknown": nights.count(None)}

    @property
    def events(self) -> int:
        """Events of all recordings."""
        return sum(recording.events for recording in self.recordings)

    @property
    def duration_s(self) -> float:
        """Seconds of all recordings together."""
        return math.fsum(recording.duration_s for recording in self.recordings)

    @property
    def label_times(self) -> int:
        """Label times of all recordings."""
        return sum(len(recording.label_times_us) for recording in self.recordings)

    @property
    def boxes(self) -> Counts:
        """Boxes of each class [K]."""
        classes = np.concatenate([np.empty(0, np.int64), *(recording.classes for recording in self.recordings)])
        return np.bincount(classes, minlength=self.classes)

    @property
    def gibibytes(self) -> float:
        """Size of the shards."""
        return sum(recording.bytes for recording in self.recordings) / 2**30

    @property
    def label_interval_ms(self) -> float | None:
        """The middle one of all times between labels; None if no recording has two label times."""
        intervals = np.concatenate([np.empty(0), *(recording.intervals_us() for recording in self.recordings)])
        return float(np.median(intervals)) / 1000 if len(intervals) else None

    def numbers(self, classes: Sequence[str]) -> dict[str, Any]:
        """Everything by name, as JSON values; `classes` names the K classes."""
        return {
            "recordings": len(self.recordings),
            **self.light,
            "events": self.events,
            "duration_s": round(self.duration_s, 6),
            "events_per_s": self.events / self.duration_s,
            "label_times": self.label_times,
            "label_times_per_s": self.label_times / self.duration_s,
            "label_interval_ms": self.label_interval_ms,
            "boxes": dict(zip(classes, self.boxes.tolist(), strict=True)),
            "gib": self.gibibytes,
        }


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A dataset in numbers."""

    location: str
    label_set: str
    classes: tuple[str, ...]
    width: int
    height: int
    splits: tuple[SplitSummary, ...]  # those that hold recordings

    @property
    def total(self) -> SplitSummary:
        """All splits as one."""
        recordings = tuple(recording for split in self.splits for recording in split.recordings)
        return SplitSummary("all", recordings, len(self.classes))

    def numbers(self) -> dict[str, Any]:
        """Everything by name, as JSON values."""
        return {
            "dataset": self.location,
            "label_set": self.label_set,
            "classes": list(self.classes),
            "width": self.width,
            "height": self.height,
            "splits": {split.name: split.numbers(self.classes) for split in self.splits},
            "all": self.total.numbers(self.classes),
        }


def summarize(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> DatasetSummary:
    """Go through the labels of all recordings; events are counted by the manifest, so none is read.

    Args:
        dataset: the dataset.
        progress: told how many recordings are done, and of how many.

    Raises:
        DatasetError: a shard is damaged.
    """
    done, splits = 0, []
    for split in dataset.splits():
        recordings = []
        for shard in dataset.shards(split):
            recordings.append(_recording(shard))
            done += 1
            if progress is not None:
                progress(done, len(dataset.manifest.recordings))
        splits.append(SplitSummary(split.value, tuple(recordings), len(dataset.label_set.classes)))
    labels, size = dataset.label_set, dataset.size
    return DatasetSummary(
        str(dataset.location), labels.name, tuple(labels.classes), size.width, size.height, tuple(splits)
    )


def _recording(shard: Shard) -> RecordingSummary:
    boxes = shard.boxes
    return RecordingSummary(
        name=shard.name,
        split=shard.split,
        night=shard.night,
        events=shard.event_count,
        duration_s=(shard.last_us + 1 - shard.first_us) / 1e6,
        bytes=shard.entry.file_bytes,
        label_times_us=boxes.times() - shard.first_us,
        boxes_us=boxes.t - shard.first_us,
        classes=boxes.class_id,
        sides=np.sqrt(boxes.xywh[:, 2] * boxes.xywh[:, 3]),
    )
