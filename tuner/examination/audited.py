"""What is known to be wrong with the dataset that a search ran on, and what is in it."""

from dataclasses import asdict
from typing import Any

from data.audit.preflight import audit
from data.dataset import Dataset
from data.manifest import Manifest, ShardEntry
from data.storage import open_storage

LARGEST_BYTES = 512 << 20  # of a dataset that is audited here and now; a larger one takes `spiketune audit`
TOLD = 40  # findings, the most serious first


def audit_summary(dataset: Dataset) -> dict[str, Any]:
    """What each split holds and what was mended when it was ingested; of a small dataset the whole audit's findings."""
    manifest = Manifest.read(open_storage(dataset.location))
    splits = {}
    for split in dataset.splits():
        entries = [entry for entry in manifest.recordings if entry.split is split]
        counts = dataset.class_counts(split).tolist()
        splits[split.value] = _sums(entries) | {"classes": dict(zip(dataset.label_set.classes, counts, strict=True))}
    whole = sum(entry.file_bytes for entry in manifest.recordings) <= LARGEST_BYTES
    findings = [asdict(finding) for finding in audit(dataset.location, processes=1).findings] if whole else []
    return {
        "location": dataset.location,
        "splits": splits,
        "left_out": [f"{left.split}/{left.name}: {left.reason}" for left in manifest.left_out],
        "audited": whole,
        "findings": findings[:TOLD],
        "more_findings": max(len(findings) - TOLD, 0),
    }


def _sums(entries: list[ShardEntry]) -> dict[str, Any]:
    return {
        "recordings": len(entries),
        "seconds": sum(entry.last_us - entry.first_us for entry in entries) / 1e6,
        "events": sum(entry.events for entry in entries),
        "events_dropped": sum(entry.repairs.out_of_frame for entry in entries),
        "events_mended": sum(entry.repairs.backward_times for entry in entries),
        "boxes": sum(entry.boxes for entry in entries),
        "boxes_cut": sum(entry.boxes_clipped for entry in entries),
        "boxes_dropped": sum(entry.boxes_dropped for entry in entries),
        "boxes_left_out": sum(entry.boxes_left_out for entry in entries),
    }
