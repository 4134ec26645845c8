"""Formats: which recordings a source holds, their splits, and what their boxes mean; told by names alone."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from data.boxes import LABEL_SETS
from data.errors import InputError, RecordingError
from data.events import SensorSize
from data.formats.dat import GEN1_ATIS
from data.formats.event_files import BESIDE, EventFormat, event_files, name_of, sequence_of
from data.formats.finding import Finding, Source
from data.formats.label_scheme import LabelScheme, read_labels
from data.formats.label_search import EIGHT, LabelSearch
from data.formats.recording import LARGEST_SIDE
from data.formats.source_notes import foreign_note, incomplete_note, split_note, unlabelled_note, unread_note
from data.formats.splits import SplitRule, split_of
from data.manifest import Split
from data.storage import SourceFile

LOOKED_FOR = (
    "eTraM (HDF5/train_h5_1/NAME_td.h5, and val, test), NAME.h5, GEN1 or 1 megapixel (NAME_td.dat), NAME.raw, "
    "NAME.aedat4, NAME.es, RVT (NAME/event_representations_v2 and NAME/labels_v2), PEDRo (numpy/NAME.npy and "
    "xml/NAME.xml)"
)
ETRAM_SETS = ("etram3", "etram8")


def find_recordings(
    files: Sequence[SourceFile],
    where: str,
    labels: LabelScheme | None = None,
    split: SplitRule | None = None,
    size: SensorSize | None = None,
) -> Source:
    """Find the recordings among files in one of the known layouts; no file is opened.

    Args:
        files: every file of the source.
        where: the source's location, for errors; its last part may name a split.
        labels: what the boxes' numbers mean; needed where the layout does not tell.
        split: for recordings that lie in no split folder; None: they are for training.
        size: the sensor of recordings that do not name it.

    Raises:
        InputError: there is no recording, kinds are mixed, or the label set or a split is missing.
        RecordingError: a recording's boxes are of two kinds or missing, or two recordings have one name.
    """
    paths = {file.path: file.bytes for file in files}
    events = event_files(paths)
    if labels is not None and labels.source not in LABEL_SETS.values() and not _has_eight(paths):
        # eTraM's file names around classes of the user's own: boxes beside the events, nothing to confuse them with.
        events = {path: EventFormat.HDF5 if kind is EventFormat.ETRAM else kind for path, kind in events.items()}
    ignored = [*incomplete_note(paths, events), *foreign_note(paths)]
    _check_kinds(events, where, ignored)
    if size is not None and EventFormat.RVT in events.values():
        raise InputError(f"{where}: --size {size.width}x{size.height}: RVT sequences tell their size; leave it out")
    kinds = set(events.values())
    scheme, expected_size = _scheme(kinds, paths, where, labels)
    splits, unsplit = _splits(events, where, split)
    search = LabelSearch(paths, where, scheme)
    findings = tuple(_finding(path, kind, splits[path], search, paths, scheme, size) for path, kind in events.items())
    _check_names(findings, where)
    loose = [finding for finding in findings if finding.events in unsplit]
    notes = [*split_note(loose, split), *unlabelled_note(findings), *unread_note(search.unread(events)), *ignored]
    return Source(scheme, findings, expected_size, tuple(notes))


def is_night(name: str) -> bool | None:
    """Whether a recording's name says day or night, as train_night_0040 does; None where it says neither."""
    said = re.search(r"(?:^|_)(day|night)(?:_|$)", name)
    return None if said is None else said[1] == "night"


def read_size(text: str) -> SensorSize:
    """The sensor that `--size` gives, as 1280x720.

    Raises:
        InputError: it is no such pair, or a side is no possible one.
    """
    sides = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    size = SensorSize(int(sides[1]), int(sides[2])) if sides else SensorSize(0, 0)
    if not all(1 <= side <= LARGEST_SIDE for side in size):
        raise InputError(f"--size {text}: must be WIDTHxHEIGHT in pixels, 1 to {LARGEST_SIDE} each, as 1280x720")
    return size


def _check_kinds(events: Mapping[PurePosixPath, EventFormat], where: str, notes: Sequence[str]) -> None:
    if not events:
        noted = "".join(f"; {note}" for note in notes)
        raise InputError(f"{where}: holds no recording; looked, at any depth, for {LOOKED_FOR}{noted}")
    kinds = [kind for kind in EventFormat if kind in events.values()]
    if len(kinds) > 1 and not BESIDE.issuperset(kinds):
        raise InputError(f"{where}: holds recordings of several kinds ({', '.join(kinds)}); give the folder of one")
    sequences: dict[PurePosixPath | None, PurePosixPath] = {}
    for path, kind in events.items():
        if kind is EventFormat.RVT and (other := sequences.setdefault(sequence_of(path), path)) != path:
            raise RecordingError(f"{where}/{path}: the sequence has another representation, {other}; keep one of them")


def _scheme(
    kinds: set[EventFormat], paths: Collection[PurePosixPath], where: str, labels: LabelScheme | None
) -> tuple[LabelScheme, SensorSize | None]:
    """What the boxes mean, and the sensor that this stands for where it is taken by default."""
    if EventFormat.ETRAM in kinds:
        return _etram_scheme(paths, where, labels), None
    if labels is not None:
        return labels, None
    if kinds == {EventFormat.DAT}:
        return read_labels("gen1"), GEN1_ATIS
    if kinds == {EventFormat.PEDRO}:
        return read_labels("pedro"), None
    raise InputError(
        f"{where}: nothing tells what the numbers in the boxes of {', '.join(sorted(kinds))} recordings mean; name it "
        f"with --labels: one of {', '.join(LABEL_SETS)}, or a YAML file of classes of your own (docs/formats.md)"
    )


def _etram_scheme(paths: Collection[PurePosixPath], where: str, labels: LabelScheme | None) -> LabelScheme:
    if labels is None or labels.source not in [LABEL_SETS[name] for name in ETRAM_SETS]:
        raise InputError(
            f"{where}: is an eTraM tree, whose boxes come in two label sets that give one number two meanings; "
            "name one: --labels etram3 (3 classes, beside the events) or --labels etram8 (8 classes, in "
            f"{EIGHT}train and its kin){f', not {labels.source.name}' if labels else ''}"
        )
    root = PurePosixPath(where).name
    if labels.source.name == "etram8" and "_h5_" in root and split_of(PurePosixPath(), root) and not _has_eight(paths):
        raise InputError(
            f"{where}: is the folder of a split, and etram8's boxes lie beside it, in {EIGHT}train and its kin; "
            "give the folder that holds both"
        )
    return labels


def _has_eight(paths: Collection[PurePosixPath]) -> bool:
    return any(part.startswith(EIGHT) for path in paths for part in path.parts)


def _splits(
    events: Mapping[PurePosixPath, EventFormat], where: str, rule: SplitRule | None
) -> tuple[dict[PurePosixPath, Split], set[PurePosixPath]]:
    """The split of each recording, and which of them lie in no split folder."""
    splits: dict[PurePosixPath, Split] = {}
    loose: list[tuple[str, PurePosixPath]] = []
    for path, kind in events.items():
        place = sequence_of(path) if kind is EventFormat.RVT else path
        split = split_of(place or path, PurePosixPath(where).name)
        if split is not None:
            splits[path] = split
        elif kind is EventFormat.ETRAM and rule is None:
            raise InputError(
                f"{where}/{path}: lies in no split; an eTraM recording lies in train_h5_1, val_h5_1, test_h5_1 or "
                "such; move it there, or name a split with --split train, or shares with --split 8:1:1"
            )
        else:
            loose.append((name_of(path, kind), path))
    given = dict.fromkeys((path for _, path in loose), Split.TRAIN) if rule is None else rule.assigned(loose)
    return splits | given, {path for _, path in loose}


def _finding(
    path: PurePosixPath,
    kind: EventFormat,
    split: Split,
    search: LabelSearch,
    paths: Mapping[PurePosixPath, int],
    scheme: LabelScheme,
    size: SensorSize | None,
) -> Finding:
    labelling = search.labels_of(path, kind)
    files = (path, *labelling.files)
    return Finding(
        name=name_of(path, kind),
        split=split,
        events=path,
        files=files,
        bytes=sum(paths[file] for file in files),
        format=kind,
        labels=scheme.source,
        given_size=size,
        box_source=labelling.place,
        box_files=labelling.box_files,
    )


def _check_names(findings: Sequence[Finding], where: str) -> None:
    places: dict[tuple[Split, str], PurePosixPath] = {}
    for finding in findings:
        if (other := places.setdefault((finding.split, finding.name), finding.events)) != finding.events:
            raise RecordingError(
                f"{where}/{finding.events}: split '{finding.split}' has a recording of this name already, "
                f"{where}/{other}; rename one"
            )
