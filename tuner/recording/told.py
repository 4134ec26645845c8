"""What the spool has been told already, so that a search that goes on tells nothing twice."""

from tuner.recording.records import SEARCH, Batch, Close, Open, Record, Upload
from tuner.recording.spool import Spool


class Told:
    """The runs that are open, the epochs they have reported, how they ended, and which files they have."""

    def __init__(self, spool: Spool) -> None:
        self._epochs: dict[int, int] = {}  # the last one, by run
        self._ends: dict[int, str | None] = {}  # the state at the end, None while it is running; by run
        self._bests: dict[int, int] = {}  # the last epoch when its end was told, by run
        self._uploads: set[tuple[int, str, int]] = set()
        for record, _ in spool.read(0, whole=False):
            if record is not None:
                self.take(record)

    def take(self, record: Record) -> None:
        """Remember a record."""
        match record:
            case Open():
                self._ends[record.run] = None
            case Batch(epoch=True):
                self._epochs[record.run] = record.step
            case Batch():
                self._bests[record.run] = record.step
            case Close():
                self._ends[record.run] = record.state
            case Upload():
                self._uploads.add((record.run, record.path, record.version))

    def is_running(self, run: int) -> bool:
        """Whether its start is told, and no end after it."""
        return run in self._ends and self._ends[run] is None

    def is_known(self, run: int) -> bool:
        """Whether it was ever started."""
        return run in self._ends

    def has_ended(self, run: int, state: str) -> bool:
        """Whether its end in this state is told."""
        return self._ends.get(run) == state

    def has_epoch(self, run: int, epoch: int) -> bool:
        """Whether this epoch or a later one is told."""
        return self._epochs.get(run, 0) >= epoch

    def has_best(self, run: int, epoch: int) -> bool:
        """Whether the metrics of its best epoch are told at its end after this one."""
        return self._bests.get(run) == epoch

    def has_file(self, upload: Upload) -> bool:
        """Whether this version of the file is told."""
        return (upload.run, upload.path, upload.version) in self._uploads

    def having(self, path: str) -> list[int]:
        """The trials that were given the file."""
        return sorted({run for run, known, _ in self._uploads if known == path and run != SEARCH})

    def running(self) -> list[int]:
        """The trials whose end is not told."""
        return sorted(run for run, end in self._ends.items() if end is None and run != SEARCH)
