"""Formats: which recordings a folder holds, and which label set their boxes speak."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.boxes import Boxes, LabelSet, label_set
from data.dat import GEN1_ATIS, DatRecording, read_header
from data.errors import InputError, RecordingError
from data.etram import EtramRecording
from data.events import Events, Repairs, SensorSize
from data.manifest import Split
from data.pedro import PedroRecording, xml_of

LAYOUTS = (
    "eTraM (HDF5/train_h5_1/NAME_td.h5, and val, test), GEN1 or 1 megapixel (NAME_td.dat), "
    "PEDRo (numpy/NAME.npy and xml/NAME.xml)"
)
ETRAM_SETS = ("etram3", "etram8")


class Recording(Protocol):
    """A source file of events and the labels that go with it; cheap to make, read when asked."""

    @property
    def path(self) -> Path:
        """The file of events."""

    @property
    def name(self) -> str:
        """The file's name without its ending."""

    @property
    def size(self) -> SensorSize:
        """The sensor; RecordingError if the file is damaged."""

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events in time order, mended, in chunks of bounded size; RecordingError if the file is damaged."""

    def boxes(self) -> Boxes:
        """The labels, sorted by time, not clipped to the frame; none where there are none."""


@dataclass(frozen=True)
class Source:
    """The recordings of a folder, each with its split, and their label set."""

    label_set: LabelSet
    recordings: tuple[tuple[Split, Recording], ...]


def find_recordings(folder: Path, labels: str | None) -> Source:
    """Find the recordings of a folder in one of the known layouts.

    Args:
        folder: an eTraM tree or its HDF5 folder, a folder of DAT files, or a PEDRo tree.
        labels: name of the label set; needed for eTraM, whose boxes come in two.

    Raises:
        InputError: the folder or its layout is unknown, or the label set is missing or does not fit.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; give the folder of the recordings, in one of the layouts {LAYOUTS}")
    found: dict[str, list[Path]] = {"eTraM": [], "DAT": [], "PEDRo": []}
    for path in _files(folder):
        kind = _kind(path)
        if kind is not None:
            found[kind].append(path)
    kinds = [kind for kind, paths in found.items() if paths]
    if not kinds:
        raise InputError(f"{folder}: holds no recording; looked, at any depth, for {LAYOUTS}")
    if len(kinds) > 1:
        raise InputError(f"{folder}: holds recordings of several kinds ({', '.join(kinds)}); give the folder of one")
    find = {"eTraM": _etram, "DAT": _dat, "PEDRo": _pedro}[kinds[0]]
    return find(folder, found[kinds[0]], labels)


def is_night(name: str) -> bool | None:
    """Whether a recording's name says day or night, as train_night_0040 does; None where it says neither."""
    said = re.search(r"(?:^|_)(day|night)(?:_|$)", name)
    return None if said is None else said[1] == "night"


def split_of(path: Path, folder: Path) -> Split | None:
    """The split the nearest folder down to `folder` is named for: train, val, test, or as eTraM's train_h5_1."""
    for parent in path.parents:
        named = re.fullmatch(r"(train|val|test)(?:_h5_\w+)?", parent.name)
        if named:
            return Split(named[1])
        if parent == folder:
            break
    return None


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in order; links are followed, since large datasets often lie on another disk."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(root, name) for name in sorted(files))


def _kind(path: Path) -> str | None:
    if path.name.endswith("_td.h5"):
        return "eTraM"
    if path.name.endswith("_td.dat"):
        return "DAT"
    return "PEDRo" if path.suffix == ".npy" and xml_of(path) is not None else None


def _etram(folder: Path, paths: list[Path], labels: str | None) -> Source:
    if labels not in ETRAM_SETS:
        raise InputError(
            f"{folder}: is an eTraM tree, whose boxes come in two label sets that give one number two meanings; "
            "name one: --labels etram3 (3 classes, beside the events) or --labels etram8 (8 classes, in "
            f"eight_class_annotations_train and its kin){f', not {labels}' if labels else ''}"
        )
    chosen = label_set(labels)
    recordings: list[tuple[Split, Recording]] = []
    for path in paths:
        split = split_of(path, folder)
        if split is None:
            raise InputError(
                f"{path}: lies in no split; an eTraM recording lies in train_h5_1, val_h5_1, test_h5_1 or such"
            )
        recordings.append((split, EtramRecording(path, _etram_boxes(path, split, chosen), chosen)))
    return Source(chosen, tuple(recordings))


def _etram_boxes(path: Path, split: Split, chosen: LabelSet) -> Path | None:
    name = path.name.replace("_td.h5", "_bbox.npy")
    places = {
        "etram3": path.with_name(name),
        "etram8": path.parent.parent / f"eight_class_annotations_{split}" / name,
    }
    wanted = places.pop(chosen.name)
    if wanted.exists():
        return wanted
    for other, place in places.items():
        if place.exists():
            raise RecordingError(
                f"{wanted}: is missing, though {place} labels the recording; fetch it, or name {other}"
            )
    return None


def _dat(folder: Path, paths: list[Path], labels: str | None) -> Source:
    if labels is None:
        for path in paths:
            size = read_header(path).size
            if size != GEN1_ATIS:
                raise InputError(
                    f"{path}: no label set is shipped for recordings of {size.width}x{size.height} pixels; "
                    "name the one its boxes speak with --labels"
                )
    chosen = label_set(labels or "gen1")
    return Source(chosen, tuple((split_of(path, folder) or Split.TRAIN, DatRecording(path, chosen)) for path in paths))


def _pedro(folder: Path, paths: list[Path], labels: str | None) -> Source:
    chosen = label_set(labels or "pedro")
    return Source(
        chosen,
        tuple(
            (split_of(path, folder) or Split.TRAIN, PedroRecording(path, xml, chosen))
            for path in paths
            if (xml := xml_of(path)) is not None
        ),
    )
