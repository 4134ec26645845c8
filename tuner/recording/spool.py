"""The spool: records on disk in the order they came, and how far they have been written to MLflow."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.recording.records import Record, from_line, to_line

SPOOL_FOLDER = "mlflow"  # below the search's folder
RECORDS = "records.jsonl"
_POSITION = "position.json"
_RUNS = "runs.jsonl"
REFUSED = "refused.jsonl"
LOCK = "writer.lock"
_PART = 2**20


class Spool:
    """Survives the death of its process at any moment. Many may append; one, who holds the lock, writes on."""

    def __init__(self, search_folder: Path) -> None:
        self.search_folder = search_folder
        self.folder = search_folder / SPOOL_FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / RECORDS
        # Unbuffered and appending: what one call has written outlives the process, and others' do not mix with it.
        self._file = self._path.open("ab", buffering=0)
        self._torn = not self._ends_with_a_line()

    def append(self, records: Sequence[Record]) -> None:
        """Add records, in one write.

        Raises:
            OSError: the disk does not take them.
        """
        data = b"".join([b"\n" if self._torn else b"", *map(to_line, records)])
        self._torn = True
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, "a record was written in part", str(self._path))
        self._torn = False

    def end(self) -> int:
        """Where the spool ends, in bytes."""
        return self._path.stat().st_size

    def read(self, position: int, *, whole: bool = True) -> Iterator[tuple[Record | None, int]]:
        """Each record from a position on and the position after it; None for a line that was torn.

        Not whole, records have no metrics, tags and parameters, and are read much faster.
        """
        with self._path.open("rb") as file:
            file.seek(position)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # its other part is still to come
                position += len(line)
                yield from_line(line, whole=whole), position

    def waiting(self, store: str) -> int:
        """How many records are still to be written to a store."""
        return _lines(self._path, self.position(store))

    def position(self, store: str) -> int:
        """Up to where all is written to a store; 0 where that cannot be known: to write again does no harm."""
        try:
            kept = json.loads((self.folder / _POSITION).read_bytes())
            return int(kept["position"]) if kept["store"] == store else 0
        except (OSError, ValueError, TypeError, KeyError):
            return 0

    def set_position(self, store: str, position: int) -> None:
        """Keep how far a store is written."""
        part = self.folder / f"{_POSITION}.part"
        part.write_text(json.dumps({"store": store, "position": position}), encoding="utf-8")
        os.replace(part, self.folder / _POSITION)  # noqa: PTH105 - the same

    def runs(self, store: str) -> dict[int, str]:
        """The runs that are known in a store: MLflow's id by ours."""
        try:
            lines = (self.folder / _RUNS).read_bytes().splitlines()
        except FileNotFoundError:
            return {}
        known: dict[int, str] = {}
        for line in lines:
            try:
                place, run, run_id = json.loads(line)
            except ValueError:
                continue  # torn; the run is found again by its tags
            if place == store:
                known[int(run)] = str(run_id)
        return known

    def keep_run(self, store: str, run: int, run_id: str) -> None:
        """Remember which of MLflow's runs one of ours is."""
        _add_line(self.folder / _RUNS, json.dumps([store, run, run_id]).encode())

    def keep_refused(self, record: Record, reason: str) -> None:
        """Keep a record that MLflow will never take, and why."""
        _add_line(self.folder / REFUSED, json.dumps({"reason": reason, "record": vars(record)}).encode())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _ends_with_a_line(self) -> bool:
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return True
            file.seek(size - 1)
            return file.read(1) == b"\n"


def waiting_records(search_folder: Path) -> int:
    """How many records of a search, which may be running, are still to be written to the store it was told last."""
    folder = search_folder / SPOOL_FOLDER
    try:
        position = int(json.loads((folder / _POSITION).read_bytes())["position"])
    except (OSError, ValueError, TypeError, KeyError):
        position = 0
    try:
        return _lines(folder / RECORDS, position)
    except FileNotFoundError:
        return 0


def _lines(path: Path, position: int) -> int:
    with path.open("rb") as file:
        file.seek(position)
        return sum(part.count(b"\n") for part in iter(lambda: file.read(_PART), b""))


def _add_line(path: Path, line: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(b"\n" * bool(file.tell()) + line)
