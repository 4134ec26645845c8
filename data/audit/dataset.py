"""What only shows across recordings: leaks between splits, missing splits and classes, several sensors."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from data.audit.gaps import EXPECTED, LEAST_US
from data.audit.recording import RecordingAudit
from data.audit.rules import Fault, fault
from data.boxes import LabelSet
from data.events import SensorSize
from data.manifest import LeftOut, Split

GROUPED = 3  # eTraM's grouped classes have the numbers 0 to 2
IMBALANCE = 100  # boxes of the commonest class for one of the rarest; beyond, a mean over classes is mostly noise
UNLABELLED = 0.5  # of the windows; below, a window is as good as always near a label
# Cameras and tools cut recordings at once or, as GEN1's, 20 ms apart. Unrelated ones rarely follow so closely.
PART_US = 100_000
TOLD = 3  # recordings named in one sentence


@dataclass(frozen=True, slots=True)
class Context:
    """What the recordings are audited against."""

    label_set: LabelSet  # of the dataset
    source_labels: LabelSet  # of the files
    expected_size: SensorSize | None = None  # that a label set taken by default stands for
    left_out: tuple[LeftOut, ...] = ()  # of the manifest
    is_dataset: bool = False  # ingested, so its splits are final


def across(audits: Sequence[RecordingAudit], context: Context) -> list[Fault]:
    """The findings about all recordings together."""
    return [
        *_sensors(audits, context),
        *_splits(audits, context),
        *_twins(audits),
        *_names(audits),
        *_parts(audits),
        *_labels(audits, context),
        *(fault("left-out", f"{left.split}/{left.name}", left.reason) for left in context.left_out),
    ]


def class_counts(audits: Iterable[RecordingAudit], split: Split, classes: int) -> list[int]:
    """Boxes of each class in a split."""
    counts = [0] * classes
    for audit in audits:
        if audit.split is split and audit.boxes is not None:
            counts = [a + b for a, b in zip(counts, audit.boxes.classes or counts, strict=True)]
    return counts


def _sensors(audits: Sequence[RecordingAudit], context: Context) -> Iterator[Fault]:
    sizes: dict[SensorSize, list[RecordingAudit]] = defaultdict(list)
    for audit in audits:
        if audit.size is not None:
            sizes[audit.size].append(audit)
    if len(sizes) > 1:
        told = "; ".join(f"{size.width}x{size.height}: {_named(found)}" for size, found in sizes.items())
        yield fault("several-sensors", None, f"recordings of {len(sizes)} sensors, {told}")
    wanted = context.expected_size
    for size, found in sizes.items():
        if wanted is not None and size != wanted:
            what = f"{_named(found)}: {size.width}x{size.height} pixels, but label set '{context.label_set.name}' "
            yield fault("unexpected-sensor", None, f"{what}was taken for a sensor of {wanted.width}x{wanted.height}")


def _splits(audits: Sequence[RecordingAudit], context: Context) -> Iterator[Fault]:
    filled = {audit.split for audit in audits}
    for split in Split:
        if split not in filled:
            yield fault(f"no-{split}", None, f"no recording is in split '{split}'", grave=context.is_dataset)


def _twins(audits: Sequence[RecordingAudit]) -> Iterator[Fault]:
    """Recordings of the same content, told by the file's digest or by the events themselves."""
    groups: dict[str, list[RecordingAudit]] = defaultdict(list)
    for audit in audits:
        if audit.events is not None and audit.events.events:
            groups[audit.events.fingerprint].append(audit)
        elif audit.content is not None:
            groups[audit.content].append(audit)
    for group in groups.values():
        if len(group) > 1:
            leak = len({audit.split for audit in group}) > 1
            what = f"{_named(group)} hold the same events"
            yield fault("split-leak" if leak else "duplicate-recording", None, what)


def _names(audits: Sequence[RecordingAudit]) -> Iterator[Fault]:
    named: dict[str, list[RecordingAudit]] = defaultdict(list)
    for audit in audits:
        named[audit.name].append(audit)
    for group in named.values():
        if len({audit.split for audit in group}) > 1:
            yield fault("same-name-in-splits", None, f"{_named(group)} have one name")


def _parts(audits: Sequence[RecordingAudit]) -> Iterator[Fault]:
    """Recordings whose names differ by numbers alone, and of which one begins where the other ends."""
    alike: dict[tuple[str, SensorSize | None], list[RecordingAudit]] = defaultdict(list)
    for audit in audits:
        if audit.events is not None and audit.events.events:
            alike[re.sub(r"\d+", "#", audit.name), audit.size].append(audit)
    apart, holes = [], []
    for group in alike.values():
        group.sort(key=lambda audit: audit.events.first_us if audit.events else 0)
        for one, other in pairwise(group):
            missing_us = _between(one, other)
            if 0 <= missing_us <= PART_US:
                if one.split is not other.split:
                    apart.append((one, other))
                if _is_hole(one, other, missing_us):
                    holes.append((missing_us, one, other))
    if apart:
        pairs = ", ".join(f"{one.place} and {other.place}" for one, other in apart[:TOLD])
        more = f" and {len(apart) - TOLD} more pairs" if len(apart) > TOLD else ""
        yield fault("parts-apart", None, f"parts of one recording in different splits: {pairs}{more}")
    if holes:
        missing_us, one, other = max(holes, key=lambda hole: hole[0])
        longest = f"{missing_us / 1000:.1f} ms between {one.place} and {other.place}"
        which = longest if len(holes) == 1 else f"{len(holes):,} times; the longest {longest}"
        yield fault("hole-between-parts", None, f"events are missing between parts of one recording, {which}")


def _between(one: RecordingAudit, other: RecordingAudit) -> int:
    """The µs between the last event of one and the first of the other."""
    assert one.events is not None
    assert other.events is not None
    return other.events.first_us - one.events.last_us - 1


def _is_hole(one: RecordingAudit, other: RecordingAudit, missing_us: int) -> bool:
    rates = [audit.events.mean_rate / 1e6 for audit in (one, other) if audit.events is not None]
    return missing_us >= LEAST_US and missing_us * min(rates) >= EXPECTED


def _labels(audits: Sequence[RecordingAudit], context: Context) -> Iterator[Fault]:
    judged = [audit for audit in audits if audit.boxes is not None]
    total = sum(audit.boxes.boxes for audit in judged if audit.boxes is not None)
    if judged and not total:
        left_out = sum(audit.boxes.left_out for audit in judged if audit.boxes is not None)
        told = f"; {left_out:,} were left out by merging" if left_out else ""
        yield fault("no-labels", None, f"not one recording has a box{told}")
        return
    for audit in judged:
        if audit.boxes is not None and not audit.boxes.boxes:
            why = "has files of labels, but no box in them" if audit.labelled else "has no file of labels"
            yield fault("no-boxes", audit.place, why)
    yield from _classes(audits, context)
    yield from _grouped(judged, context)
    windows = sum(audit.boxes.windows for audit in judged if audit.boxes is not None)
    empty = sum(audit.boxes.empty_windows for audit in judged if audit.boxes is not None)
    if empty > UNLABELLED * windows:
        what = f"{empty / windows:.0%} of all windows of 50 ms hold no label time"
        yield fault("unlabelled-windows", None, what)


def _classes(audits: Sequence[RecordingAudit], context: Context) -> Iterator[Fault]:
    names = context.label_set.classes
    for split in sorted({audit.split for audit in audits}, key=list(Split).index):
        counts = class_counts(audits, split, len(names))
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        if missing and len(missing) < len(names):
            yield fault("class-without-boxes", None, f"split '{split}' has no box of {', '.join(missing)}")
        present = {name: count for name, count in zip(names, counts, strict=True) if count}
        if len(present) > 1 and max(present.values()) >= IMBALANCE * min(present.values()):
            told = ", ".join(f"{name} {count:,}" for name, count in present.items())
            yield fault("class-imbalance", None, f"boxes in split '{split}': {told}")


def _grouped(judged: Sequence[RecordingAudit], context: Context) -> Iterator[Fault]:
    """Whether the boxes of eight named classes use only the numbers of the three grouped ones."""
    if context.source_labels.name != "etram8":
        return
    beyond = sum(sum(audit.boxes.source_classes[GROUPED:]) for audit in judged if audit.boxes is not None)
    told = any(audit.boxes.source_classes for audit in judged if audit.boxes is not None)
    if told and not beyond:
        what = f"label set '{context.source_labels.name}' is named, but only the classes 0 to {GROUPED - 1} occur"
        yield fault("grouped-labels", None, f"{what}, as in eTraM's three grouped classes")


def _named(audits: Sequence[RecordingAudit]) -> str:
    more = f" and {len(audits) - TOLD} more" if len(audits) > TOLD else ""
    return ", ".join(audit.place for audit in audits[:TOLD]) + more
