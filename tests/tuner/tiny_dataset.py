"""A dataset of two tiny recordings."""

from pathlib import Path

import h5py
import numpy as np

from data.boxes import BOX_DTYPE
from data.ingest.ingest import IngestOptions, ingest


def make_dataset(root: Path, target: Path) -> None:
    """One recording each to train and validate on: 1,000 events and one box, in eTraM's layout below `root`."""
    for split in ("train", "val"):
        folder = root / "HDF5" / f"{split}_h5_1"
        folder.mkdir(parents=True)
        with h5py.File(folder / f"{split}_day_0001_td.h5", "w") as file:
            events = file.create_group("events")
            events["x"] = np.arange(1000, dtype=np.uint16) % 64
            events["y"] = np.arange(1000, dtype=np.uint16) % 48
            events["p"] = np.arange(1000, dtype=np.int16) % 2
            events["t"] = np.arange(1000, dtype=np.int64) * 1000
            events["width"], events["height"] = 64, 48
        boxes = np.zeros(1, BOX_DTYPE)
        boxes["t"], boxes["x"], boxes["y"], boxes["w"], boxes["h"] = 900_000, 4, 4, 40, 30
        np.save(folder / f"{split}_day_0001_bbox.npy", boxes)
    ingest(root, target, IngestOptions(labels="etram3"))
