"""Event files: which files hold events, in which format, told by names alone."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import PurePosixPath

from data.formats.box_files import TABLE_ENDING
from data.formats.rvt import FILES as RVT_FILES


class EventFormat(StrEnum):
    """How events lie in files, as a user calls it."""

    ETRAM = "eTraM"
    HDF5 = "HDF5"
    DAT = "DAT"
    RAW = "RAW"
    AEDAT4 = "AEDAT4"
    ES = "ES"
    RVT = "RVT"
    PEDRO = "PEDRo"


# Looked for in this order: the first that fits.
ENDINGS = {
    "_td.h5": EventFormat.ETRAM,
    ".h5": EventFormat.HDF5,
    ".hdf5": EventFormat.HDF5,
    ".dat": EventFormat.DAT,
    ".raw": EventFormat.RAW,
    ".aedat4": EventFormat.AEDAT4,
    ".es": EventFormat.ES,
}
BESIDE = frozenset(ENDINGS.values()) - {EventFormat.ETRAM}  # boxes of any kind lie beside the events: these may mix
RVT_LABELS, RVT_EVENTS = RVT_FOLDERS = ("labels_v2", "event_representations_v2")
RVT_STACKED = "stacked_histogram_dt="  # of RVT's representations the one that can be turned into events


def event_files(paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, EventFormat]:
    """The files of events among files, in order; of an RVT sequence the representations that its reader prefers."""
    ordered = sorted(paths)
    folders = {folder for path in ordered for folder in path.parents}
    found: dict[PurePosixPath, EventFormat] = {}
    sequences: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in ordered:
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if (sequence := sequence_of(path)) is not None:
            if path.name in RVT_FILES and RVT_EVENTS in path.parts and path.parent.name.startswith(RVT_STACKED):
                sequences[sequence].append(path)
        elif ending is not None:
            found[path] = ENDINGS[ending]
        elif path.suffix == ".npy" and not path.name.endswith(TABLE_ENDING) and window_xml(path, folders) is not None:
            found[path] = EventFormat.PEDRO
    for sequence, stacked in sequences.items():
        if sequence / RVT_LABELS in folders:
            best = next(name for name in RVT_FILES if any(path.name == name for path in stacked))
            found |= dict.fromkeys((path for path in stacked if path.name == best), EventFormat.RVT)
    return found


def name_of(path: PurePosixPath, kind: EventFormat) -> str:
    """A recording's name: its file's without the ending and without _td, or that of its RVT sequence."""
    sequence = sequence_of(path) if kind is EventFormat.RVT else None
    if sequence is not None:
        return sequence.name
    return path.stem if kind is EventFormat.PEDRO else path.stem.removesuffix("_td") or path.stem


def sequence_of(path: PurePosixPath) -> PurePosixPath | None:
    """The RVT sequence that a file lies in: the folder above labels_v2 or event_representations_v2."""
    return next((folder.parent for folder in path.parents if folder.name in RVT_FOLDERS), None)


def window_xml(window: PurePosixPath, folders: Collection[PurePosixPath]) -> PurePosixPath | None:
    """Where the boxes of .../numpy/.../NAME.npy belong: .../xml/.../NAME.xml; None if there is no such folder.

    The xml's own <filename> is that of a video frame, not of the window.
    """
    for folder in window.parents:
        if folder.name == "numpy" and (xml := folder.with_name("xml")) in folders:
            return (xml / window.relative_to(folder)).with_suffix(".xml")
    return None
