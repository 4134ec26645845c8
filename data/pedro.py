"""PEDRo: windows of 40 ms in numpy files, persons in VOC xml files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import Events, Repairs, SensorSize, mend_chunks

DAVIS346 = SensorSize(346, 260)
EDGES = ("xmin", "ymin", "xmax", "ymax")


def xml_of(window: Path) -> Path | None:
    """Where the boxes of .../numpy/.../NAME.npy belong: .../xml/.../NAME.xml; None if there is no such folder.

    The xml's own <filename> is that of a video frame, not of the window.
    """
    for folder in window.parents:
        if folder.name == "numpy" and folder.with_name("xml").is_dir():
            return (folder.with_name("xml") / window.relative_to(folder)).with_suffix(".xml")
    return None


@dataclass(frozen=True)
class PedroRecording:
    """One window: its events, and boxes that carry the time of its last event."""

    path: Path
    boxes_path: Path
    label_set: LabelSet

    @property
    def name(self) -> str:
        """The file's name without .npy."""
        return self.path.stem

    @property
    def size(self) -> SensorSize:
        """The sensor of every window."""
        return DAVIS346

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
        if not self.boxes_path.exists():
            return Boxes.empty()
        objects = _objects(self.boxes_path)
        rows = self._rows(mapped=True)
        label_us = int(rows[:, 0].max()) if len(rows) else 0
        edges = np.array([[_edge(item, edge, self.boxes_path) for edge in EDGES] for item in objects], np.float32)
        xywh = edges.reshape(-1, 4)
        xywh[:, 2:] -= xywh[:, :2]
        class_id = np.array([self._class(item) for item in objects], np.int64)
        return Boxes(np.full(len(objects), label_us, np.int64), xywh, class_id, np.arange(len(objects)))

    def _class(self, item: ElementTree.Element) -> int:
        name = (item.findtext("name") or "").strip()
        if name not in self.label_set.classes:
            raise RecordingError(
                f"{self.boxes_path}: class '{name}' is not in label set '{self.label_set.name}' "
                f"({', '.join(self.label_set.classes)}); name another (--labels) or mend the file"
            )
        return self.label_set.classes.index(name)

    def _rows(self, mapped: bool = False) -> npt.NDArray[np.integer[Any]]:
        try:
            rows = np.load(self.path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RecordingError(f"{self.path}: cannot be read as a numpy file ({error}); fetch it again") from None
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iu":
            raise RecordingError(f"{self.path}: must be a table of whole numbers with the columns t, x, y, p")
        return rows


def _objects(path: Path) -> list[ElementTree.Element]:
    try:
        return ElementTree.parse(path).getroot().findall("object")  # noqa: S314 - expat limits entity expansion
    except (OSError, ElementTree.ParseError) as error:
        raise RecordingError(f"{path}: cannot be read as xml ({error}); fetch it again") from None


def _edge(item: ElementTree.Element, edge: str, path: Path) -> float:
    text = item.findtext(f"bndbox/{edge}") or ""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise RecordingError(f"{path}: {edge}='{text}' of an object must be a finite number of pixels; mend the file")
    return value
