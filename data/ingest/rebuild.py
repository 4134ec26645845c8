"""Rebuilding: damaged shards of a dataset are made again, to the byte, and nothing else is touched."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from data.boxes import nearest
from data.errors import DatasetError, InputError
from data.formats.finding import Finding, Source
from data.ingest.conversion import Sensor, convert
from data.ingest.plan import Places
from data.ingest.progress import IngestProgress, Meter
from data.ingest.work import Counters, Job, put_in_place, scratch_folder, source_folder
from data.manifest import MANIFEST, Manifest, ShardEntry, shard_name, shard_path


def rebuild(
    wanted: tuple[str, ...],
    found: Source,
    places: Places,
    dataset: Manifest | None,
    scratch: Path,
    progress: Callable[[IngestProgress], None] | None,
) -> Manifest:
    """Make shards again; each must become what the manifest says.

    Args:
        wanted: SPLIT/NAME of each.
        found: the recordings of the source.
        places: the source, and the dataset.
        dataset: its manifest.
        scratch: a folder of this machine to work in.
        progress: told of what is done.

    Raises:
        InputError: there is no such shard, or no such recording in the source.
        DatasetError: there is no whole dataset, or the source has changed; the shard is left as it was.
    """
    where = places.target.location
    if dataset is None or places.target.size(MANIFEST) is None:
        raise DatasetError(
            f"{where}: is no finished dataset, so nothing can be rebuilt; ingest without --rebuild first"
        )
    sensor = Sensor(dataset.size, f"those of the dataset {dataset.size.width}x{dataset.size.height}")
    pairs = list(_pairs(wanted, found, places, dataset))
    meter = Meter(0, [finding.bytes for finding, _ in pairs], progress)
    counters = Counters.of_jobs(len(pairs))
    for index, (finding, entry) in enumerate(pairs):

        def told(read: int, of: int | None, index: int = index) -> None:
            counters.count(index, read, of)
            meter.watch(counters)

        job = Job(finding, found.scheme, "", places.source, places.target, scratch, sensor)
        _rebuild(job, entry, told)
        meter.over(index, entry)
    return dataset


def _pairs(
    wanted: tuple[str, ...], found: Source, places: Places, dataset: Manifest
) -> Iterator[tuple[Finding, ShardEntry]]:
    """The recording and the entry of each wanted shard."""
    entries = {f"{entry.split}/{entry.name}": entry for entry in dataset.recordings}
    findings = {finding.events.as_posix(): finding for finding in found.findings}
    for name in dict.fromkeys(wanted):
        if name not in entries:
            raise InputError(f"--rebuild {name}: the dataset has no such shard; {nearest(name, entries)}")
        entry = entries[name]
        if entry.source not in findings:
            raise InputError(
                f"--rebuild {name}: {places.source.location} does not hold its recording {entry.source}; "
                "name the source that the dataset was ingested from"
            )
        yield replace(findings[entry.source], split=entry.split), entry


def _rebuild(job: Job, entry: ShardEntry, told: Callable[[int, int | None], None]) -> None:
    name = shard_name(entry.split, entry.name)
    with scratch_folder(job) as scratch, source_folder(job, scratch) as root:
        shard = shard_path(scratch, entry.split, entry.name)
        made, _ = convert(job.finding, job.scheme, root, shard, job.sensor, told)
        if made.sha256 != entry.sha256:
            raise DatasetError(f"{job.target.url(name)}: cannot be rebuilt to the byte: {_why(made, entry)}")
        put_in_place(shard, job)


def _why(made: ShardEntry, entry: ShardEntry) -> str:
    """What of a recording is not as it was."""
    before, now = entry.digests(), made.digests()
    changed = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    if changed:
        return (
            f"{', '.join(changed)} changed in the source since it was ingested; bring back what it was, or ingest "
            "without --rebuild to take the recording as it is now"
        )
    return "its source is what it was, but another version of Spiketune made it; remove the dataset and ingest it again"
