"""Ingest: recordings become shards. All of them, or an error and nothing."""

import hashlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from data.boxes import clip
from data.errors import InputError, RecordingError, SpiketuneError
from data.events import Repairs
from data.formats import Recording, Source, find_recordings, is_night
from data.manifest import MANIFEST, SCHEMA_VERSION, Manifest, ShardEntry, Split, shard_path
from data.packing import LARGEST
from data.shard_writer import ShardWriter, partial_path

LONGEST_US = 24 * 3600 * 1_000_000  # a longer recording has a damaged time in it
PARALLEL_BYTES = 64 << 20  # below this, starting workers takes longer than they save
MOST_WORKERS = 8  # some 300 MB each


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """One recording more is done."""

    name: str
    done: int  # recordings
    total: int  # recordings
    events: int  # of this recording


@dataclass(frozen=True, slots=True)
class _Job:
    split: Split
    recording: Recording
    folder: Path
    target: Path

    @property
    def shard(self) -> Path:
        return shard_path(self.target, self.split, self.recording.name)


def ingest(
    source: Path,
    target: Path,
    labels: str | None = None,
    progress: Callable[[IngestProgress], None] | None = None,
) -> Manifest:
    """Turn the recordings of a folder into a dataset; the same folder gives the same bytes.

    Args:
        source: a folder in one of the layouts of `data.formats`.
        target: the dataset's folder, new or without a dataset.
        labels: name of the label set, where the layout does not tell.
        progress: told of every recording done.

    Raises:
        InputError: the input breaks a rule, or the target cannot be written; what was written is removed again.
    """
    if (target / MANIFEST).exists():
        raise InputError(f"{target}: holds a dataset already; choose another target, or remove the folder first")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file, but a dataset is a folder; choose another target")
    found = find_recordings(source, labels)
    _check(found)
    jobs = [_Job(split, recording, source.absolute(), target) for split, recording in found.recordings]
    try:
        entries = _convert_all(jobs, progress)
        order = list(Split)
        entries.sort(key=lambda entry: (order.index(entry.split), entry.name))
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            label_set=found.label_set,
            size=found.recordings[0][1].size,
            recordings=tuple(entries),
        )
        _write(manifest, target)
    except OSError as error:
        _remove(jobs, target)
        raise InputError(f"{target}: cannot be written ({error}); choose a target with enough room") from None
    except BaseException:
        _remove(jobs, target)
        raise
    return manifest


def _check(found: Source) -> None:
    """Find in seconds what would otherwise end the work after hours."""
    split, recording = found.recordings[0]
    size, first = recording.size, recording.path
    if size.width > LARGEST.width or size.height > LARGEST.height:
        raise RecordingError(
            f"{first}: the sensor has {size.width}x{size.height} pixels, but a shard holds at most "
            f"{LARGEST.width}x{LARGEST.height}; crop or bin the events first"
        )
    places: Counter[tuple[Split, str]] = Counter()
    for split, recording in found.recordings:
        if recording.size != size:
            raise RecordingError(
                f"{recording.path}: the sensor has {recording.size.width}x{recording.size.height} pixels, that of "
                f"{first} {size.width}x{size.height}; a dataset has one sensor: ingest them apart"
            )
        places[split, recording.name] += 1
        if places[split, recording.name] > 1:
            raise RecordingError(f"{recording.path}: split '{split}' has a recording of this name already; rename one")
        recording.boxes()


def _convert_all(jobs: list[_Job], progress: Callable[[IngestProgress], None] | None) -> list[ShardEntry]:
    entries: list[ShardEntry] = []

    def done(entry: ShardEntry) -> None:
        entries.append(entry)
        if progress is not None:
            progress(IngestProgress(entry.name, len(entries), len(jobs), entry.events))

    workers = min(len(jobs), _processors(), MOST_WORKERS)
    if workers == 1 or sum(job.recording.path.stat().st_size for job in jobs) < PARALLEL_BYTES:
        for job in jobs:
            done(_convert(job))
    else:
        _convert_in_parallel(jobs, workers, done)
    return entries


def _processors() -> int:
    return len(os.sched_getaffinity(0))  # those this process may use, which may be fewer than there are


def _convert_in_parallel(jobs: list[_Job], workers: int, done: Callable[[ShardEntry], None]) -> None:
    # Spawned, not forked: a fork of a process that has used threads may hang.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(_convert, job) for job in jobs]):
                done(future.result())
        except BrokenProcessPool:
            raise SpiketuneError("a worker process died while ingesting, most likely for lack of memory") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _convert(job: _Job) -> ShardEntry:
    recording = job.recording
    boxes, clipped, dropped = clip(recording.boxes(), recording.size)
    repairs = Repairs()
    with ShardWriter(job.shard, boxes) as writer:
        for events, mended in recording.chunks():
            repairs += mended
            writer.write(events)
            if writer.last_us - writer.first_us > LONGEST_US:
                raise RecordingError(
                    f"{recording.path}: its times run from {writer.first_us} to {writer.last_us} µs, more than a day; "
                    "a time in it is damaged: mend it, or leave the recording out"
                )
        if not writer.events:
            raise RecordingError(f"{recording.path}: holds no event inside the frame; leave the recording out")
    with job.shard.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ShardEntry(
        name=recording.name,
        split=job.split,
        night=is_night(recording.name),
        events=writer.events,
        first_us=writer.first_us,
        last_us=writer.last_us,
        boxes=len(boxes),
        repairs=repairs,
        boxes_clipped=clipped,
        boxes_dropped=dropped,
        source=recording.path.relative_to(job.folder).as_posix(),
        file_bytes=job.shard.stat().st_size,
        sha256=sha256,
    )


def _write(manifest: Manifest, target: Path) -> None:
    partial = partial_path(target / MANIFEST)
    partial.write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
    partial.replace(target / MANIFEST)


def _remove(jobs: list[_Job], target: Path) -> None:
    """Remove what a failed ingest has written, and the folders it leaves empty."""
    if not target.is_dir():
        return
    partial_path(target / MANIFEST).unlink(missing_ok=True)
    for job in jobs:
        for written in (job.shard, partial_path(job.shard)):
            written.unlink(missing_ok=True)
    for folder in (*(target / split for split in Split), target):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
