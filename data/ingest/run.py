"""One run of an ingestion: what its plan asks for is done, damage is gathered, and the manifest is written."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from data.errors import InputError, RecordingError, SpiketuneError
from data.events import SensorSize
from data.formats.finding import Finding, Source
from data.ingest.conversion import Sensor, check_sensor
from data.ingest.journal import Finished, Journal
from data.ingest.place import WorkPlace
from data.ingest.plan import Places, Plan, make_plan
from data.ingest.progress import IngestProgress, Meter
from data.ingest.work import Job, Work
from data.manifest import MANIFEST, SCHEMA_VERSION, LeftOut, Manifest, ShardEntry, Split, shard_name

ONE_SENSOR = "a dataset has one sensor: ingest them apart"


@dataclass(frozen=True, slots=True)
class _Failed:
    """A recording without a shard."""

    finding: Finding
    error: SpiketuneError


@dataclass(frozen=True, slots=True)
class Run:
    """What a run works on."""

    places: Places
    found: Source
    split_rule: str | None
    old: Manifest | None  # of the dataset as it was
    place: WorkPlace
    work: Work
    skip_damaged: bool

    def manifest(self, progress: Callable[[IngestProgress], None] | None) -> Manifest:
        """Do what is to be done, and write the manifest.

        Raises:
            InputError: recordings are damaged, or do not fit the dataset; the others' shards are kept.
            OSError: the target cannot be written.
        """
        plan = make_plan(self.found, self.places, self.old, self.skip_damaged)
        jobs, failed = self._jobs(plan)
        replaced = plan.replaced & {(job.finding.split, job.finding.name) for job in jobs}
        if replaced and self.old is not None:
            Journal(self.places.target).set_aside(self.old, replaced)
        ready = len(plan.kept) + len(plan.finished) + len(plan.left_out) + len(failed)
        meter = Meter(ready, [job.finding.bytes for job in jobs], progress)
        self._introduce(plan, failed, meter)
        finished = [*plan.finished, *self._work(jobs, failed, meter)]
        self._check_failed(failed, len(plan.kept) + len(finished))
        left_out = [*plan.left_out, *(self._left_out(each) for each in failed)]
        size = self.old.size if self.old else finished[0].size
        return self._finish([*plan.kept, *(done.entry for done in finished)], left_out, size, meter)

    def _introduce(self, plan: Plan, failed: Sequence[_Failed], meter: Meter) -> None:
        for note in self.found.notes:
            meter.say(note)
        if plan.finished:
            meter.say(f"going on: an interrupted ingestion has done {len(plan.finished)} recordings already")
        for each in failed:
            meter.say(str(each.error))

    def _jobs(self, plan: Plan) -> tuple[list[Job], list[_Failed]]:
        """What is to be done, and what is seen at once to be damaged: seconds now instead of hours later."""
        source, target = self.places.source, self.places.target
        sensor = self._sensor(plan.finished)
        jobs, failed = [], []
        for finding, made_of in plan.to_do:
            try:
                if source.local is not None:
                    recording = finding.open(source.local)
                    size = check_sensor(recording, sensor)
                    sensor = sensor or _that_of(str(recording.path), size)
            except RecordingError as error:
                failed.append(_Failed(finding, RecordingError(str(error))))
            else:
                jobs.append(Job(finding, self.found.scheme, made_of, source, target, self.place.scratch, sensor))
        return jobs, failed

    def _sensor(self, finished: Sequence[Finished]) -> Sensor | None:
        """The sensor that the dataset must have, where that is known before a recording is read."""
        if self.old is not None:
            width, height = self.old.size
            return Sensor(self.old.size, f"those of the dataset {width}x{height}; {ONE_SENSOR}")
        if self.found.expected_size is not None:
            width, height = self.found.expected_size
            name = self.found.scheme.target.name
            why = f"label set '{name}', taken by default, is of {width}x{height}; name the boxes' own with --labels"
            return Sensor(self.found.expected_size, why)
        return _that_of(finished[0].entry.source, finished[0].size) if finished else None

    def _work(self, jobs: list[Job], failed: list[_Failed], meter: Meter) -> list[Finished]:
        """Do the jobs; those that fail are added to `failed`."""
        finished: list[Finished] = []
        with closing(self.work(jobs, meter.watch)) as outcomes:
            for outcome in outcomes:
                finding, result = jobs[outcome.job].finding, outcome.result
                if isinstance(result, SpiketuneError):
                    failed.append(_Failed(finding, result))
                    meter.over(outcome.job, None, str(result))
                    continue
                finished.append(result)
                _check_one_sensor(finished)
                meter.over(outcome.job, result.entry)
        return finished

    def _check_failed(self, failed: Sequence[_Failed], done: int) -> None:
        """End here where a recording without a shard may not be left out."""
        serious = [each for each in failed if not isinstance(each.error, RecordingError)]
        if not failed or (self.skip_damaged and not serious and done):
            return
        told = sorted(str(each.error) for each in failed)
        kept = "the others are done and kept" if done else "no other is done"
        remedy = "mend these files, or move them away, and run the same command again"
        if not serious and done:
            remedy += "; or add --skip-damaged to leave them out"
        lines = "\n  ".join(told)
        kind = InputError if serious else RecordingError
        raise kind(
            f"{len(failed)} of {len(failed) + done} recordings could not be ingested; {kept}; {remedy}:\n  {lines}"
        )

    def _left_out(self, failed: _Failed) -> LeftOut:
        finding = failed.finding
        return LeftOut(
            name=finding.name,
            split=finding.split,
            source=finding.events.as_posix(),
            bytes=finding.bytes,
            reason=str(failed.error).replace(f"{self.places.source.location.rstrip('/')}/", ""),
        )

    def _finish(self, entries: list[ShardEntry], left_out: list[LeftOut], size: SensorSize, meter: Meter) -> Manifest:
        target, scheme = self.places.target, self.found.scheme
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            label_set=scheme.target,
            source_labels=scheme.source,
            label_mapping=scheme.mapping,
            split_rule=self.split_rule,
            size=size,
            recordings=tuple(sorted(entries, key=_place)),
            left_out=tuple(sorted(left_out, key=_place)),
        )
        if target.size(MANIFEST) is not None and manifest == self.old:
            meter.say("the dataset is complete: every recording of the source is in it")
        else:
            self.place.check()
            manifest.write(target)
        named = {(entry.split, entry.name) for entry in entries}
        for entry in self.old.recordings if self.old else ():
            if (entry.split, entry.name) not in named:
                target.remove(shard_name(entry.split, entry.name))
        Journal(target).clear(manifest)
        return manifest


def _place(entry: ShardEntry | LeftOut) -> tuple[int, str]:
    return list(Split).index(entry.split), entry.name


def _that_of(path: str, size: SensorSize) -> Sensor:
    return Sensor(size, f"that of {path} {size.width}x{size.height}; {ONE_SENSOR}")


def _check_one_sensor(finished: Sequence[Finished]) -> None:
    """For recordings that could not be looked at before they were fetched."""
    first, last = finished[0], finished[-1]
    if first.size != last.size:
        raise InputError(
            f"{last.entry.source}: the sensor has {last.size.width}x{last.size.height} pixels, that of "
            f"{first.entry.source} {first.size.width}x{first.size.height}; {ONE_SENSOR}"
        )
