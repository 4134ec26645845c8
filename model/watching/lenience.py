"""What is written beside a training must not end it: a full disk is said once."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.training.run_folder import NO_ROOM

log = logging.getLogger(__name__)


class Lenience:
    """Writes to one place, which may fail for want of room."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failing = False  # the last write did

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let what is inside fail where the disk is full, with one warning until it can be written again.

        Raises:
            OSError: it cannot be written, for another reason than room.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            if not self.failing:
                log.warning("%s: cannot be written (%s); training goes on without", self._path, error.strerror)
            self.failing = True
        else:
            self.failing = False
