"""PEDRo: windows of 40 ms in numpy files, persons in VOC xml files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import Events, Repairs, SensorSize, mend_chunks
from data.formats.box_rows import boxes_of
from data.formats.numpy_file import read_array
from data.formats.recording import settled_size
from data.formats.voc import read_objects

DAVIS346 = SensorSize(346, 260)


@dataclass(frozen=True)
class PedroRecording:
    """One window: its events, and boxes that carry the time of its last event."""

    path: Path
    boxes_path: Path | None  # None: the window has no xml file
    label_set: LabelSet
    given_size: SensorSize | None = None

    @property
    def name(self) -> str:
        """The file's name without .npy."""
        return self.path.stem

    @property
    def size(self) -> SensorSize:
        """The sensor: the given one, else that of PEDRo's own windows."""
        return settled_size(self.path, None, self.given_size, usual=DAVIS346)

    @property
    def row_count(self) -> int:
        """The rows of the table."""
        return len(self._rows(mapped=True))

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events of the window, mended, at once.

        Raises:
            RecordingError: the file is no table of whole numbers t, x, y, p.
        """
        rows = self._rows()
        columns = [np.ascontiguousarray(column) for column in rows.T]
        return mend_chunks([(columns[0], columns[1], columns[2], columns[3])], self.size, str(self.path))

    def boxes(self) -> Boxes:
        """The boxes; none if the window has no xml file.

        Raises:
            RecordingError: the xml is damaged or names a class that is not in the label set.
        """
        if self.boxes_path is None:
            return Boxes.empty()
        return boxes_of(read_objects(self.boxes_path, self._last_us(), self.label_set, self.size))

    def _last_us(self) -> int:
        """The time of the last event, as the mended events have it: the latest of those inside the frame."""
        t, x, y, _ = self._rows(mapped=True).T
        inside = (x >= 0) & (x < self.size.width) & (y >= 0) & (y < self.size.height)
        return int(t[inside].max(initial=0))

    def _rows(self, mapped: bool = False) -> npt.NDArray[np.integer[Any]]:
        rows = read_array(self.path, mapped)
        if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iu":
            raise RecordingError(
                f"{self.path}: must be a table of whole numbers with the columns t, x, y, p; export it so"
            )
        return rows
