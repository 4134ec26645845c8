"""A dataset as dense as eTraM: one synthetic recording at 1280x720, labelled."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.recordings import EVENTS_PER_SECOND, SIZE, recording
from data.boxes import BOX_DTYPE
from data.ingest.ingest import IngestOptions, ingest
from data.simulator.etram_writer import write_boxes
from data.simulator.traffic import label_times

NAME = "train_day_0001"
OBJECTS = 6  # labelled at a time
SIDE_PX = 100.0


def make(folder: Path, duration_s: float) -> tuple[Path, Path]:
    """Recordings and dataset; boxes go their ways over the events, since only the time of a step is measured."""
    recordings, dataset = folder / "dense_recordings", folder / "dense"
    recording(recordings, NAME, int(duration_s * EVENTS_PER_SECOND))
    labels = recordings / "HDF5" / "eight_class_annotations_train"
    labels.mkdir()
    # The last label may lie behind the last event, whose times are drawn.
    write_boxes(labels / f"{NAME}_bbox.npy", _boxes(duration_s - 0.1))
    ingest(recordings, dataset, IngestOptions(labels="etram8"))
    return recordings, dataset


def _boxes(duration_s: float) -> npt.NDArray[np.void]:
    times_us = np.array(label_times(duration_s))
    random = np.random.default_rng(0)
    start = random.uniform(0, 1, (OBJECTS, 2)) * SIZE
    speed = random.normal(0, 60, (OBJECTS, 2))  # px a second
    boxes = np.zeros((len(times_us), OBJECTS), BOX_DTYPE)
    corner = np.mod(start + times_us[:, None, None] / 1e6 * speed, np.array(SIZE) - SIDE_PX)
    boxes["t"], boxes["x"], boxes["y"] = times_us[:, None], corner[..., 0], corner[..., 1]
    boxes["w"] = boxes["h"] = SIDE_PX
    boxes["class_id"], boxes["track_id"], boxes["class_confidence"] = 1, np.arange(1, OBJECTS + 1), 1.0
    return boxes.ravel()
