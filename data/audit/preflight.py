"""Audit: what is wrong with recordings or a dataset, found before a GPU is rented for it."""

from dataclasses import dataclass, replace
from pathlib import Path

from data.audit.cost import Cost, cost
from data.audit.dataset import Context, across, class_counts
from data.audit.jobs import Job, Measure, Progress, audit_all, on_this_machine
from data.audit.recording import RecordingAudit
from data.audit.rules import Fault, Severity
from data.audit.verdicts import verdicts
from data.boxes import LabelSet
from data.errors import InputError
from data.events import SensorSize
from data.formats.discovery import find_recordings
from data.formats.label_scheme import LabelScheme
from data.formats.splits import SplitRule
from data.manifest import MANIFEST, Manifest, Split
from data.parallel import processors
from data.storage import Storage, open_storage


@dataclass(frozen=True, slots=True)
class Options:
    """How the recordings of a folder are to be understood, as for ingest; a dataset knows by itself."""

    labels: LabelScheme | None = None
    split: SplitRule | None = None
    size: SensorSize | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """All that an audit found."""

    location: str
    is_dataset: bool
    label_set: LabelSet
    recordings: tuple[RecordingAudit, ...]  # sorted by split and name
    findings: tuple[Fault, ...]  # the most serious first
    cost: Cost | None  # None for a dataset, whose cost is past
    notes: tuple[str, ...]  # what was taken for granted about a folder of recordings

    def count(self, severity: Severity) -> int:
        """How many findings are of this severity."""
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def failed(self) -> bool:
        """Whether a search on these data would fail, or its numbers be wrong."""
        return self.count(Severity.ERROR) > 0

    def class_counts(self, split: Split) -> list[int]:
        """Boxes of each class in a split."""
        return class_counts(self.recordings, split, len(self.label_set.classes))


def audit(
    location: str | Path,
    options: Options | None = None,
    progress: Progress | None = None,
    processes: int | None = None,
    measure: Measure | None = None,
) -> Audit:
    """Audit a dataset, or the recordings of a folder, in bounded memory.

    Args:
        location: a path or a URL.
        options: how to understand a folder of recordings.
        progress: told of every recording done.
        processes: that work side by side; None: as many as this machine has, where that pays.
        measure: audits the recordings, elsewhere than in processes of this machine; it must reach them.

    Raises:
        InputError: the place holds no recording, or an option is missing or not for a dataset.
    """
    storage = open_storage(location)
    options = options or Options()
    measure = measure or on_this_machine(processes)
    if storage.size(MANIFEST) is None:
        return _audit_recordings(storage, options, progress, measure)
    if options != Options():
        raise InputError(f"{storage.location}: is a dataset, which knows its labels, splits and sensor; give no option")
    return _audit_dataset(storage, progress, measure)


def _audit_recordings(storage: Storage, options: Options, progress: Progress | None, measure: Measure) -> Audit:
    source = find_recordings(storage.files(), storage.location, options.labels, options.split, options.size)
    jobs = [Job(storage, finding.bytes, finding, source.scheme) for finding in source.findings]
    audits = _in_order(audit_all(jobs, progress, measure))
    context = Context(source.scheme.target, source.scheme.source, source.expected_size)
    spent = cost(audits, processors())
    return _judged(storage, audits, context, spent, source.notes)


def _audit_dataset(storage: Storage, progress: Progress | None, measure: Measure) -> Audit:
    manifest = Manifest.read(storage)
    jobs = [
        Job(storage, entry.file_bytes, manifest.model_copy(update={"recordings": (entry,), "left_out": ()}))
        for entry in manifest.recordings
    ]
    audits = _in_order(audit_all(jobs, progress, measure))
    unmerged = manifest.label_mapping == tuple(range(len(manifest.label_set.classes)))
    if unmerged:  # so the classes of the shards are those of the files
        audits = [_with_source_classes(found) for found in audits]
    context = Context(manifest.label_set, manifest.source_labels, None, manifest.left_out, is_dataset=True)
    return _judged(storage, audits, context, None, ())


def _judged(
    storage: Storage, audits: list[RecordingAudit], context: Context, spent: Cost | None, notes: tuple[str, ...]
) -> Audit:
    found = [finding for one in audits for finding in verdicts(one)] + across(audits, context)
    found.sort(key=lambda finding: (list(Severity).index(finding.severity), finding.code))
    return Audit(storage.location, context.is_dataset, context.label_set, tuple(audits), tuple(found), spent, notes)


def _in_order(audits: list[RecordingAudit]) -> list[RecordingAudit]:
    return sorted(audits, key=lambda found: (list(Split).index(found.split), found.name))


def _with_source_classes(found: RecordingAudit) -> RecordingAudit:
    if found.boxes is None:
        return found
    return replace(found, boxes=replace(found.boxes, source_classes=found.boxes.classes))
