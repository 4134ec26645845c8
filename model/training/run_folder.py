"""The folder of a run: its checkpoints, in bounded number, and the state it resumes from; on a disk or in a store.

At an epoch's end the checkpoints are written first and the state last. A run that is killed in between resumes from the
state before, does the epoch again, and writes the same checkpoints once more.
"""

import atexit
import errno
import functools
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from data.errors import DatasetError, InputError
from data.storage import open_storage
from model.checkpoint import CHECKPOINT, Checkpoint, sealed_content
from model.sealed_file import write_sealed
from model.training.config import CheckpointConfig
from model.training.retention import turn
from model.training.state_file import load_state, save_state

BEST = "best.safetensors"
LAST = "last.safetensors"
STATE = "state.safetensors"

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Content = tuple[dict[str, torch.Tensor], dict[str, str]]  # of a checkpoint's file
_log = logging.getLogger(__name__)


class RunFolder:
    """What one run keeps, at a path or a URL as `data.storage` understands it; one process at a time writes it.

    A full disk does not end a training, nor does an object store that fails after it once worked: what was there stays,
    and one warning is said until everything can be written again.
    """

    def __init__(self, location: str | Path, config: CheckpointConfig) -> None:
        self.failed_writes = 0  # ends of epochs, and states, of which something could not be written
        self._storage = open_storage(location)
        self._config = config
        self._failing: set[str] = set()
        self._works = self._storage.local is not None  # a store that never did is most likely a wrong location
        self._owed: dict[str, Content] = {}  # the best and the last checkpoint, as long as they cannot be written

    @property
    def best(self) -> Path:
        """The best checkpoint, on this machine."""
        return self.path(BEST)

    @property
    def last(self) -> Path:
        """The checkpoint of the last epoch, on this machine."""
        return self.path(LAST)

    def path(self, name: str) -> Path:
        """A file on this machine; out of a store it is fetched anew, and there until the process ends.

        Raises:
            InputError: it is in a store, and is not there or cannot be fetched.
        """
        if self._storage.local is not None:
            return self._storage.local / name
        path = self._scratch("fetched") / name
        self._storage.fetch(PurePosixPath(name), path)
        self._works = True
        return path

    def keep(self, checkpoint: Checkpoint, best: bool, score: float) -> None:
        """Write the checkpoints of an epoch that is done, and remove those it displaces.

        Raises:
            OSError: a file cannot be written, for another reason than room.
            InputError: the store cannot be written, and never was.
        """
        content = sealed_content(checkpoint)
        self._owed |= dict.fromkeys([BEST, LAST] if best else [LAST], content)
        with self._going_on("checkpoints"):
            self._pay()
            self._turn(checkpoint.epoch, score, content)
        if self._owed:
            self._hold(content)

    def save_state(self, tree: Mapping[str, Any]) -> None:
        """Write what the run resumes from; its checkpoints are there by now.

        Raises:
            TypeError: something in it cannot be kept.
            OSError: as `keep`.
            InputError: as `keep`.
        """
        with self._going_on("state"):
            self._pay()  # a run that resumes from a state does not write what is before it again
            self._write(STATE, lambda path: save_state(tree, path))

    def load_state(self) -> dict[str, Any] | None:
        """What the run resumes from; None where nothing is.

        Raises:
            DatasetError: it is damaged.
            InputError: the store does not answer.
        """
        if self._storage.size(PurePosixPath(STATE)) is None:
            return None
        path = self.path(STATE)
        try:
            return load_state(path)
        except DatasetError as error:
            raise DatasetError(str(error).replace(str(path), self._storage.url(PurePosixPath(STATE)))) from None
        finally:
            if self._storage.local is None:
                path.unlink()

    def _turn(self, epoch: int, score: float, content: Content) -> None:
        """Write and remove the checkpoints besides best and last."""
        if self._config.every_epochs is None and not self._config.top:
            return
        due = turn(self._config, epoch, score, self._names())
        for name in due.write:
            self._write_checkpoint(name, content)
        for name in due.remove:
            self._storage.remove(PurePosixPath(name))

    def _names(self) -> list[str]:
        if self._storage.local is not None:
            return [path.name for path in self._storage.local.iterdir()]
        return [str(file.path) for file in self._storage.files(missing_ok=True)]

    def _pay(self) -> None:
        """Write the best and the last checkpoint, where they are owed."""
        for name, content in list(self._owed.items()):
            self._write_checkpoint(name, content)
            del self._owed[name]

    def _hold(self, content: Content) -> None:
        """Copy what is owed; the training goes on to change it."""
        tensors, metadata = content
        copied = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}, metadata
        self._owed = {name: copied if owed is content else owed for name, owed in self._owed.items()}

    def _write_checkpoint(self, name: str, content: Content) -> None:
        self._write(name, lambda path: write_sealed(*content, path, CHECKPOINT))

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        if self._storage.local is not None:
            write(self._storage.local / name)
            return
        path = self._scratch("written") / name
        write(path)
        try:
            self._storage.put(path, PurePosixPath(name))
        finally:
            path.unlink()
        self._works = True

    def _scratch(self, use: str) -> Path:
        """A folder of this machine, for what comes from the store or goes there."""
        location = hashlib.sha256(self._storage.location.encode()).hexdigest()[:16]
        return _scratch_folder() / location / use

    @contextmanager
    def _going_on(self, what: str) -> Iterator[None]:
        """Let the training go on where a disk is full or a store fails."""
        try:
            yield
        except (OSError, InputError) as error:
            if not self._may_pass(error):
                raise
            self.failed_writes += 1
            if not self._failing:
                said = f"{self._storage.location}: the {what} cannot be written ({error})"
                _log.warning("%s; what was there stays, and training goes on", said)
            self._failing.add(what)
        else:
            self._failing.discard(what)

    def _may_pass(self, error: OSError | InputError) -> bool:
        if isinstance(error, OSError):
            return error.errno in NO_ROOM
        return self._works and self._storage.local is None


@functools.cache
def _scratch_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="spiketune-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
