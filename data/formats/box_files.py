"""Box files: which kinds of labels may lie beside a recording, where, and what reads them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.motchallenge import read_mot
from data.formats.prophesee_boxes import read_boxes
from data.formats.voc import read_voc
from data.formats.yolo import CLASS_NAMES, read_yolo

MOT_TRUTH, MOT_INFO, MOT_NAMES = "gt/gt.txt", "seqinfo.ini", "gt/labels.txt"  # below NAME_mot/
TABLE_ENDING, MOT_ENDING, INFO_ENDING = "_bbox.npy", "_mot.txt", "_seqinfo.ini"
FILES = re.compile(f"(.+)({'|'.join(map(re.escape, (TABLE_ENDING, MOT_ENDING, INFO_ENDING)))})")
FOLDERS = re.compile(r"(.+)_(mot|voc|yolo)")


class BoxKind(StrEnum):
    """The formats of box files, as a user calls them."""

    TABLE = "box table"
    MOT = "MOTChallenge"
    VOC = "VOC"
    YOLO = "YOLO"


FOLDER_KINDS = {"mot": BoxKind.MOT, "voc": BoxKind.VOC, "yolo": BoxKind.YOLO}
ENDINGS = {BoxKind.VOC: ".xml", BoxKind.YOLO: ".txt"}


@dataclass(frozen=True)
class BoxFiles:
    """The files that label one recording; paths are below the source folder."""

    kind: BoxKind
    place: PurePosixPath  # the file, or the folder of files
    files: tuple[PurePosixPath, ...]  # every file that is read

    def read(self, root: Path, labels: LabelSet, size: SensorSize, first_us: int) -> Boxes:
        """The boxes in time order, not clipped; `first_us` is the time of the recording's first event.

        Raises:
            RecordingError: a file breaks the rules of its format.
        """
        paths = [root / file for file in self.files]
        match self.kind:
            case BoxKind.TABLE:
                return read_boxes(paths[0], labels)
            case BoxKind.VOC:
                return read_voc(paths, labels, size)
            case BoxKind.YOLO:
                return read_yolo(paths, labels, size)
            case BoxKind.MOT:
                truth, info, *names = paths
                return read_mot(truth, info, next(iter(names), None), labels, size, first_us)


class BoxIndex:
    """All box files of a source, by the recording they are named for: its folder, then its name."""

    def __init__(self, files: Iterable[PurePosixPath], where: str) -> None:
        self._where = where
        inside: dict[tuple[PurePosixPath, BoxKind, PurePosixPath], list[PurePosixPath]] = defaultdict(list)
        for file in sorted(files):
            for label in _labels(file):
                inside[label].append(file)
        self._found: dict[PurePosixPath, list[BoxFiles]] = defaultdict(list)
        for (recording, kind, place), held in inside.items():
            self._found[recording].append(BoxFiles(kind, place, _read_of(kind, place, held)))

    def beside(self, recording: PurePosixPath) -> BoxFiles | None:
        """The labels of a recording, given as its folder and name; None if there are none.

        Raises:
            RecordingError: there are two kinds, or gt.txt has no seqinfo.ini.
        """
        kinds = [found for found in self._found.get(recording, []) if found.files]
        if len(kinds) > 1:
            said = " and ".join(f"{found.place.name} ({found.kind})" for found in kinds)
            raise RecordingError(f"{self._where}/{recording}: has boxes of two kinds, {said}; keep one of them")
        if kinds and kinds[0].kind is BoxKind.MOT and len(kinds[0].files) == 1:
            raise RecordingError(
                f"{self._where}/{kinds[0].files[0]}: has no seqinfo.ini, which gives frames their time; "
                f"write {_info(kinds[0].place)} with [Sequence] and frameRate"
            )
        return kinds[0] if kinds else None

    def unread(self, recordings: Iterable[PurePosixPath]) -> list[PurePosixPath]:
        """What is named for labels and not read: of no recording, or a recording's folder without a file to read."""
        known = set(recordings)
        return sorted(
            found.place
            for recording, kinds in self._found.items()
            for found in kinds
            if bool(found.files) != (recording in known)
        )


def _labels(file: PurePosixPath) -> Iterator[tuple[PurePosixPath, BoxKind, PurePosixPath]]:
    """What a file may label: the recording, in which format, and the file or folder that stands for the labels."""
    if named := FILES.fullmatch(file.name):
        recording = file.with_name(named[1])
        if named[2] == TABLE_ENDING:
            yield recording, BoxKind.TABLE, file
        else:
            yield recording, BoxKind.MOT, file.with_name(f"{named[1]}{MOT_ENDING}")
    for folder in file.parents:
        if named := FOLDERS.fullmatch(folder.name):
            yield folder.with_name(named[1]), FOLDER_KINDS[named[2]], folder


def _read_of(kind: BoxKind, place: PurePosixPath, held: list[PurePosixPath]) -> tuple[PurePosixPath, ...]:
    """Those files of a place that are read, in the order their reader takes them; none if boxes are not among them."""
    if kind is BoxKind.TABLE:
        return (place,)
    if kind is BoxKind.MOT:
        truth = place if place.suffix == ".txt" else place / MOT_TRUTH
        wanted = (truth, _info(place), place / MOT_NAMES)
        return tuple(file for file in wanted if file in held) if truth in held else ()
    direct = tuple(file for file in held if file.parent == place and file.suffix == ENDINGS[kind])
    return direct if any(file.name != CLASS_NAMES for file in direct) else ()


def _info(place: PurePosixPath) -> PurePosixPath:
    """The seqinfo.ini of a folder NAME_mot or a file NAME_mot.txt."""
    return place.with_name(place.name.replace(MOT_ENDING, INFO_ENDING)) if place.suffix == ".txt" else place / MOT_INFO
