"""Findings: the recordings of a source, each with all it takes to read its events and boxes, told by names alone."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.box_files import BoxFiles
from data.formats.event_files import EventFormat, sequence_of
from data.formats.label_scheme import LabelScheme
from data.formats.opening import reader
from data.formats.pedro import PedroRecording
from data.formats.recording import Recording
from data.formats.rvt import RvtRecording
from data.manifest import Split

CLOCK_SLACK_US = 1_000_000  # labels may begin or end this much beside the events


@dataclass(frozen=True)
class Finding:
    """One recording; every path is below the source folder."""

    name: str  # its own within the split
    split: Split
    events: PurePosixPath  # the file of events
    files: tuple[PurePosixPath, ...]  # every file that is read: events, then boxes
    bytes: int  # of all files
    format: EventFormat
    labels: LabelSet  # what the numbers or names of its boxes mean
    given_size: SensorSize | None  # by the user; None: the file tells
    box_source: PurePosixPath | None  # the file or folder of its boxes; None: it has none
    box_files: BoxFiles | None  # boxes beside the events; None where there are none, or the recording reads its own

    def open(self, root: Path) -> Recording:
        """The recording; `root` is the folder below which its files lie under their relative names."""
        path = root / self.events
        match self.format:
            case EventFormat.RVT:
                return RvtRecording(root / (sequence_of(self.events) or self.events), self.labels)
            case EventFormat.PEDRO:
                xml = None if self.box_source is None else root / self.box_source
                return PedroRecording(path, xml, self.labels, self.given_size)
            case kind:
                return reader(path, kind, self.given_size)

    def boxes(self, root: Path, recording: Recording, first_us: int, last_us: int) -> Boxes:
        """The boxes in `labels`' numbering, in time order, not clipped to the frame.

        Args:
            root: as for `open`.
            recording: what `open` gave.
            first_us: time of the first event.
            last_us: time of the last event.

        Raises:
            RecordingError: the box files are damaged, or not one of their boxes is of the recording's time.
        """
        own = recording.boxes()
        if own is not None:
            return own
        if self.box_files is None:
            return Boxes.empty()
        boxes = self.box_files.read(root, self.labels, recording.size, first_us)
        if len(boxes) and (boxes.t[-1] < first_us - CLOCK_SLACK_US or boxes.t[0] > last_us + CLOCK_SLACK_US):
            raise RecordingError(
                f"{root / self.box_files.place}: its boxes are of {boxes.t[0]} to {boxes.t[-1]} µs, but the events of "
                f"{first_us} to {last_us} µs; label times must be µs of the events' own clock"
            )
        return boxes


@dataclass(frozen=True)
class Source:
    """The recordings of a folder, and what their labels become."""

    scheme: LabelScheme
    findings: tuple[Finding, ...]  # in the order of their paths
    expected_size: SensorSize | None  # the sensor that a label set taken by default stands for
    notes: tuple[str, ...]  # what was taken for granted or left aside, for the user to see
