"""The audit of one recording: its events streamed once, its boxes beside them."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from data.audit.boxes import BoxAudit, RawTable, audit_boxes, raw_table
from data.audit.events import EventAudit, EventScan
from data.audit.rules import Fault, fault
from data.boxes import LABEL_SETS, Boxes, LabelSet
from data.dataset import Dataset
from data.errors import SpiketuneError
from data.events import LONGEST_US, Events, Repairs, SensorSize
from data.formats.finding import Finding
from data.formats.label_scheme import LabelScheme
from data.formats.recording import CHUNK_EVENTS, Recording
from data.manifest import Manifest, Split, shard_name
from data.node_cache import rebuild
from data.shards import Shard
from data.storage import Storage, sha256_of

FIRST_SPAN_US = 10_000  # of a shard's first chunk; the fullest 10 ms of any camera fit into memory
LONGEST_SPAN_US = 60_000_000  # of a chunk: an index of 60,000 milliseconds
MOST_PIXELS = 1 << 24  # four times the largest event camera; 268 MB of counts


@dataclass(frozen=True)
class RecordingAudit:
    """What was measured of one recording, and what is wrong with it."""

    name: str
    split: Split
    source: str  # the file of events, or the shard, below the audited place
    bytes: int  # of all its files
    size: SensorSize | None = None  # None: it could not be read
    events: EventAudit | None = None  # None: they could not be read to their end
    boxes: BoxAudit | None = None  # None: they, or the events, could not be read
    labelled: bool = False  # whether there are files of labels
    content: str | None = None  # SHA-256 of the file of events, where the manifest knows it
    read_s: float = 0.0  # seconds spent on reading and decoding its events
    faults: tuple[Fault, ...] = field(default=(), repr=False)

    @property
    def place(self) -> str:
        """How findings name it."""
        return f"{self.split}/{self.name}"


class Measured:
    """What comes to light while a recording is read."""

    def __init__(self, storage: Storage, place: str, classes: int) -> None:
        self.place = place
        self.root: Path | None = None  # below which its files lie on this machine
        self._storage = storage
        self.faults: list[Fault] = []
        self.read_s = 0.0
        self.classes = classes  # of the dataset
        self.left_out = 0
        self.source_classes: tuple[int, ...] = ()
        self.boxes_readable = True

    def add(self, code: str, what: str, remedy: str | None = None) -> None:
        """A finding about this recording."""
        if self.root is not None:  # the user knows the files by where they come from
            what = what.replace(str(self.root), self._storage.location.rstrip("/"))
        self.faults.append(fault(code, self.place, what, remedy=remedy))

    def timed(self, chunks: Iterator[tuple[Events, Repairs]]) -> Iterator[tuple[Events, Repairs]]:
        """The chunks; the time it takes to bring each is counted."""
        while True:
            begun = time.perf_counter()
            chunk = next(chunks, None)
            self.read_s += time.perf_counter() - begun
            if chunk is None:
                return
            yield chunk

    def scan(self, scan: EventScan, chunks: Iterator[tuple[Events, Repairs]]) -> None:
        """Bring all chunks to the scan, or those up to a time that cannot be."""
        for events, repairs in self.timed(chunks):
            scan.add(events, repairs)
            if scan.last_us - scan.first_us > LONGEST_US:
                self.add("damaged-times", f"its times run from {scan.first_us} to {scan.last_us} µs, more than a day")
                return

    def judged_boxes(self, scan: EventScan, size: SensorSize) -> BoxAudit:
        """The statistics of the boxes, when the scan is finished."""
        audit = audit_boxes(scan.boxes, size, self.classes, (scan.first_us, scan.last_us), scan.lively)
        return replace(audit, left_out=self.left_out, source_classes=self.source_classes)


def audit_raw(storage: Storage, finding: Finding, scheme: LabelScheme) -> RecordingAudit:
    """Audit a recording as its camera or dataset wrote it; one far away is fetched for as long as it takes."""
    audit = RecordingAudit(
        finding.name, finding.split, str(finding.events), finding.bytes, labelled=finding.box_source is not None
    )
    measured = Measured(storage, audit.place, len(scheme.target.classes))
    try:
        with _on_this_machine(storage, finding) as root:
            measured.root = root
            audit = _measure_raw(audit, measured, finding, scheme, root)
    except (SpiketuneError, OSError) as error:
        measured.add("unreadable", str(error))
    return replace(audit, faults=tuple(measured.faults), read_s=measured.read_s)


def audit_shard(storage: Storage, manifest: Manifest) -> RecordingAudit:
    """Audit the one recording that this manifest names, as it lies in a dataset."""
    (entry,) = manifest.recordings
    name = shard_name(entry.split, entry.name)
    audit = RecordingAudit(
        entry.name,
        entry.split,
        str(name),
        entry.file_bytes,
        labelled=entry.box_source is not None or entry.boxes > 0,
        content=entry.source_sha256 if entry.source_bytes else None,
    )
    measured = Measured(storage, audit.place, len(manifest.label_set.classes))
    again = rebuild(storage, name)
    try:
        if storage.size(name) is None:
            measured.add("missing-shard", f"{storage.url(name)}: the shard is missing", again)
        else:
            audit = _measure_shard(audit, measured, storage, manifest, again)
    except (SpiketuneError, OSError) as error:
        measured.add("damaged-shard", str(error), again)
    return replace(audit, faults=tuple(measured.faults), read_s=measured.read_s)


def _measure_shard(
    audit: RecordingAudit, measured: Measured, storage: Storage, manifest: Manifest, again: str
) -> RecordingAudit:
    (entry,) = manifest.recordings
    (shard,) = Dataset(storage, manifest).shards(entry.split)
    if sha256_of(shard.path) != entry.sha256:
        what = f"{storage.url(shard_name(entry.split, entry.name))}: the shard's content is not what the manifest says"
        measured.add("damaged-shard", what, again)
        return audit
    scan = EventScan(manifest.size, lambda _: shard.boxes)
    measured.scan(scan, _chunks(shard))
    events = replace(scan.finish(), repairs=entry.repairs)
    boxes = replace(
        measured.judged_boxes(scan, manifest.size),
        boxes=entry.boxes + entry.boxes_dropped,
        cut=entry.boxes_clipped,
        outside=entry.boxes_dropped,
        left_out=entry.boxes_left_out,
    )
    return replace(audit, size=manifest.size, events=events, boxes=boxes)


def _chunks(shard: Shard) -> Iterator[tuple[Events, Repairs]]:
    """A shard's events in chunks of some CHUNK_EVENTS, however dense it is."""
    start_us, span_us = shard.first_us, FIRST_SPAN_US
    while start_us <= shard.last_us:
        events = shard.events(start_us, start_us + span_us)
        yield events, Repairs()
        start_us += span_us
        wanted = span_us * CHUNK_EVENTS // max(len(events), 1)
        span_us = min(max(wanted, FIRST_SPAN_US // 10), 2 * span_us, LONGEST_SPAN_US)


def _measure_raw(
    audit: RecordingAudit, measured: Measured, finding: Finding, scheme: LabelScheme, root: Path
) -> RecordingAudit:
    recording = finding.open(root)
    size = recording.size
    if size.width * size.height > MOST_PIXELS:
        measured.add("unreadable", f"{finding.events}: its sensor would have {size.width}x{size.height} pixels")
        return audit
    table = raw_table([root / file for file in finding.files])
    boxes_from = partial(_boxes, measured, finding, scheme, root, recording, table)
    scan = EventScan(size, boxes_from)
    measured.scan(scan, recording.chunks())
    events = scan.finish()
    boxes = None
    if measured.boxes_readable and scan.events:
        boxes = replace(measured.judged_boxes(scan, size), falling_times=table.falling_times)
    return replace(audit, size=size, events=events, boxes=boxes)


def _boxes(
    measured: Measured,
    finding: Finding,
    scheme: LabelScheme,
    root: Path,
    recording: Recording,
    table: RawTable,
    first_us: int,
) -> Boxes:
    """The boxes in the dataset's classes; none, and a finding, where they cannot be read."""
    measured.boxes_readable = False
    classes = scheme.source.classes
    strange = [number for number in table.classes if number >= len(classes)]
    if strange:
        measured.add("class-outside-set", *_strange_classes(strange, scheme.source, str(finding.box_source)))
        return Boxes.empty()
    try:
        boxes = recording.boxes()
        if boxes is None and finding.box_files is not None:
            boxes = finding.box_files.read(root, finding.labels, recording.size, first_us)
    except (SpiketuneError, OSError) as error:
        measured.add("unreadable-labels", str(error))
        return Boxes.empty()
    measured.boxes_readable = True
    merged, measured.left_out = scheme.merged(boxes or Boxes.empty())
    if boxes is not None:
        measured.source_classes = tuple(np.bincount(boxes.class_id, minlength=len(classes)).tolist())
    return merged


def _strange_classes(strange: Sequence[int], labels: LabelSet, file: str) -> tuple[str, str | None]:
    """What is wrong with class numbers the label set has not, and what to do about it."""
    count = len(labels.classes)
    what = (
        f"{file}: class numbers up to {max(strange)} occur, but label set '{labels.name}' has only 0 to {count - 1} "
        f"({', '.join(labels.classes)})"
    )
    eight = LABEL_SETS["etram8"]
    if labels.name != "etram3" or max(strange) >= len(eight.classes):
        return what, None
    meaning = f"1 is {labels.classes[1]} in one and {eight.classes[1]} in the other"
    what += f"; these are eTraM's eight classes, in which the same numbers mean something else ({meaning})"
    return what, "name --labels etram8, or put the boxes of three classes beside the events"


@contextmanager
def _on_this_machine(storage: Storage, finding: Finding) -> Iterator[Path]:
    """The folder below which a recording's files lie; they are fetched if need be, and removed again."""
    if storage.local is not None:
        yield storage.local
        return
    with tempfile.TemporaryDirectory(prefix="spiketune-audit-") as scratch:
        for path in finding.files:
            storage.fetch(path, Path(scratch, path))
        yield Path(scratch)
