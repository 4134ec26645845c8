"""Opening: the reader of one file of events, chosen by its name."""

from pathlib import Path

from data.errors import RecordingError
from data.events import SensorSize
from data.formats.dat import DatRecording
from data.formats.etram import EtramRecording
from data.formats.event_files import ENDINGS, EventFormat
from data.formats.faery_recording import FaeryRecording
from data.formats.recording import Recording


def open_recording(path: Path, size: SensorSize | None = None) -> Recording:
    """A file of events: eTraM's or another's HDF5, DAT, RAW, AEDAT4 or ES; cheap, as it is read when asked.

    Args:
        path: whose ending tells the format.
        size: of the sensor, for files that do not name it.

    Raises:
        RecordingError: there is no such file, or its ending is that of no format.
    """
    kind = next((kind for ending, kind in ENDINGS.items() if path.name.endswith(ending)), None)
    if kind is None:
        raise RecordingError(f"{path}: is no file of events by its name; one ends in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise RecordingError(f"{path}: there is no such file; check its name")
    return reader(path, kind, size)


def reader(path: Path, kind: EventFormat, size: SensorSize | None) -> Recording:
    """The reader of a file whose format is known, one of those that are a single file."""
    if kind in (EventFormat.ETRAM, EventFormat.HDF5):
        return EtramRecording(path, size)
    if kind is EventFormat.DAT:
        return DatRecording(path, size)
    assert kind in (EventFormat.RAW, EventFormat.AEDAT4, EventFormat.ES), f"{kind.value} is no single file"
    return FaeryRecording(path, size)
