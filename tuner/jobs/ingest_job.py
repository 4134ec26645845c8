"""Jobs that ingest: recordings become a dataset on all nodes, which is then audited."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.storage import whole_text
from tuner.ingest_progress import ProgressFile, read_progress
from tuner.jobs.ingest_order import LABELS_FILE
from tuner.jobs.kinds import Told, Work, is_let_go

if TYPE_CHECKING:
    from data.manifest import Manifest

INGESTS = "ingests"
PROGRESS_FILE, AUDIT_FILE = "progress.json", "audit.json"
TERMINATED = "it was told to end"


def folder_of(work: Work) -> Path:
    """Where an ingestion tells how it stands."""
    return work.shared / INGESTS / work.job


def run(work: Work) -> str | None:
    """Ingest, or go on with it, and audit the dataset; why it ended early, if a signal asked for that."""
    from data.ingest.place import is_locked
    from data.storage import open_storage
    from tuner.cluster_ingest import on_the_cluster

    folder = folder_of(work)
    folder.mkdir(parents=True, exist_ok=True)
    dataset = open_storage(work.order.settings["dataset"])
    is_let_go(lambda: is_locked(dataset))  # if it does not come, the ingestion itself tells who has it
    try:
        with _told_to_end(), on_the_cluster():
            _work(work, ProgressFile(folder / PROGRESS_FILE))
    except _Terminated:
        return TERMINATED
    return None


def status(work: Work) -> Told:
    """How far it is."""
    progress = _begun(work)
    return Told(progress, _as_text(progress))


def results(work: Work) -> Told:
    """What it has made, and what the audit has found of it."""
    progress = _begun(work)
    file = folder_of(work) / AUDIT_FILE
    if not file.is_file():
        raise InputError(f"{work.job}: has made no dataset yet; `spiketune status {work.job}` tells how far it is")
    found = json.loads(file.read_text(encoding="utf-8"))
    lines = [*progress["result"], *(f"audit: {one['severity']}: {one['what']}" for one in found["findings"])]
    return Told({"result": progress["result"], "audit": found}, "\n".join(lines) + "\n")


def files(work: Work) -> list[Path]:
    """The audit; the dataset is where it was wanted."""
    file = folder_of(work) / AUDIT_FILE
    return [file] if file.is_file() else []


def trial_errors(work: Work, trial: int) -> str:  # noqa: ARG001 - as every kind has it
    """An ingestion has none."""
    raise InputError(f"{work.job}: is an ingestion, which has no trials; leave --trial out")


def _work(work: Work, kept: ProgressFile) -> None:
    from data.audit.preflight import audit
    from data.ingest.ingest import IngestOptions, ingest
    from data.ingest.progress import IngestProgress
    from tuner.audit_display import as_json, show
    from tuner.cluster_ingest import audit_on_cluster, ingest_on_cluster
    from tuner.ingest_display import IngestDisplay, summary

    given = dict(work.order.settings)
    source, dataset, processes = given.pop("source"), given.pop("dataset"), given.pop("processes")
    if (work.package / LABELS_FILE).is_file():
        given["labels"] = str(work.package / LABELS_FILE)
    with IngestDisplay(sys.stdout) as display:

        def tell(progress: IngestProgress) -> None:
            display(progress)
            kept.ingested(progress)

        manifest: Manifest = ingest(source, dataset, IngestOptions(**given), tell, ingest_on_cluster(processes))
    kept.has_made(summary(manifest, dataset))
    found = audit(dataset, None, kept.audited, measure=audit_on_cluster)
    whole_text(folder_of(work) / AUDIT_FILE, json.dumps(as_json(found), indent=1))
    show(found)
    kept.done()


class _Terminated(BaseException):
    """Like KeyboardInterrupt: whatever is under way cleans up."""


@contextmanager
def _told_to_end() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal wants it
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, and cleaning up takes its time
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _begun(work: Work) -> dict[str, Any]:
    progress = read_progress(folder_of(work) / PROGRESS_FILE)
    if progress is None:
        raise InputError(f"{work.job}: has not begun yet; `spiketune logs {work.job}` tells what its driver does")
    return progress


def _as_text(progress: dict[str, Any]) -> str:
    from tuner.ingest_display import pace

    lines = [f"{progress['phase']}: {progress['done']:,}/{progress['total']:,} recordings"]
    if progress["phase"] == "ingest":
        lines[0] += (
            f", {progress['share']:.0%} of the bytes, {pace(progress['events_per_s'], progress['seconds_left'])}"
        )
    return "\n".join([*lines, *(f"  {news}" for news in progress["news"]), *progress["result"]]) + "\n"
