"""Label search: which files label a recording, by the layout it lies in."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from data.errors import RecordingError
from data.formats.box_files import TABLE_ENDING, BoxFiles, BoxIndex
from data.formats.event_files import RVT_LABELS, EventFormat, name_of, sequence_of, window_xml
from data.formats.label_scheme import LabelScheme
from data.formats.splits import split_of
from data.manifest import Split

EIGHT = "eight_class_annotations_"  # eTraM's folders of boxes in 8 classes, one a split


class Labelling(NamedTuple):
    """The labels of one recording; None and empty where it has none."""

    place: PurePosixPath | None = None  # the file or folder of the boxes
    files: tuple[PurePosixPath, ...] = ()  # every file that is read for them
    box_files: BoxFiles | None = None  # None where the recording reads its boxes itself


class LabelSearch:
    """Finds the labels of recordings among all files of a source."""

    def __init__(self, paths: Iterable[PurePosixPath], where: str, scheme: LabelScheme) -> None:
        self._paths = frozenset(paths)
        self._where = where
        self._folders = frozenset(folder for path in self._paths for folder in path.parents)
        self._inside: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
        for path in sorted(self._paths):
            self._inside[path.parent].append(path)
        self._eight_wanted = scheme.source.name == "etram8"
        self._index = BoxIndex(self._paths, where)

    def labels_of(self, events: PurePosixPath, kind: EventFormat) -> Labelling:
        """The labels of a recording.

        Raises:
            RecordingError: they are of two kinds, incomplete, or of eTraM's other label set.
        """
        match kind:
            case EventFormat.RVT:
                folder = (sequence_of(events) or events) / RVT_LABELS
                beside = (path for path in self._inside[events.parent] if path != events)
                return Labelling(folder, (*self._inside[folder], *beside))  # times and the like lie beside the events
            case EventFormat.PEDRO:
                xml = window_xml(events, self._folders)
                return Labelling(xml, (xml,)) if xml is not None and xml in self._paths else Labelling()
            case EventFormat.ETRAM:
                found = self._etram(events)
            case _:
                found = self._index.beside(_key(events, kind))
        return Labelling() if found is None else Labelling(found.place, found.files, found)

    def unread(self, events: Mapping[PurePosixPath, EventFormat]) -> list[PurePosixPath]:
        """What is named for labels, but labels none of these recordings."""
        keys = [_key(path, kind) for path, kind in events.items()]
        eights = [key for path, kind in events.items() if kind is EventFormat.ETRAM for key in _eight_keys(path)]
        windows = {window_xml(path, self._folders) for path, kind in events.items() if kind is EventFormat.PEDRO}
        xmls = [path for path in self._paths if path.suffix == ".xml" and "xml" in path.parts] if windows else []
        return sorted({*self._index.unread([*keys, *eights]), *(path for path in xmls if path not in windows)})

    def _etram(self, events: PurePosixPath) -> BoxFiles | None:
        key, eights = _key(events, EventFormat.ETRAM), _eight_keys(events)
        three = self._index.beside(key)
        eight = next((found for found in map(self._index.beside, eights) if found is not None), None)
        if self._eight_wanted:
            chosen, other, wanted, other_set = eight, three, eights[0], "etram3"
        else:
            chosen, other, wanted, other_set = three, eight, key, "etram8"
        if chosen is None and other is not None:
            raise RecordingError(
                f"{self._where}/{wanted}{TABLE_ENDING}: is missing, though {self._where}/{other.place} labels the "
                f"recording; fetch it, or name {other_set}"
            )
        return chosen


def _key(events: PurePosixPath, kind: EventFormat) -> PurePosixPath:
    """Where labels beside the events lie: their folder and the recording's name."""
    return events.with_name(name_of(events, kind))


def _eight_keys(events: PurePosixPath) -> list[PurePosixPath]:
    """Where eTraM's boxes of 8 classes may lie: the folder of the recording's split, or any where none is told."""
    split = split_of(events)
    name = name_of(events, EventFormat.ETRAM)
    return [events.parent.parent / f"{EIGHT}{one}" / name for one in ([split] if split else Split)]
