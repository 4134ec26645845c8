"""The manifest of a dataset: its recordings, what was mended in them, and where each came from."""

import json
from enum import StrEnum
from pathlib import Path

from data.boxes import LabelSet
from data.config import Config
from data.errors import ConfigError, DatasetError
from data.events import Repairs, SensorSize

SCHEMA_VERSION = 1  # rises whenever an older reader would misread
MANIFEST = "manifest.json"


class Split(StrEnum):
    """What a recording is for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class ShardEntry(Config):
    """One recording in the manifest."""

    name: str  # of the source file, without its ending
    split: Split
    night: bool | None  # None where the name does not tell
    events: int  # after repairs
    first_us: int  # time of the first event
    last_us: int  # time of the last event
    boxes: int  # after clipping
    repairs: Repairs  # of its events
    boxes_clipped: int  # boxes cut to the frame
    boxes_dropped: int  # boxes of which nothing lay inside the frame
    source: str  # path of the events below the ingested folder
    file_bytes: int  # size of the shard file
    sha256: str  # of the shard file


class Manifest(Config):
    """What a dataset holds: `manifest.json`, written last."""

    schema_version: int  # SCHEMA_VERSION of the writer
    label_set: LabelSet  # what the class numbers of all boxes mean
    size: SensorSize  # of every recording: width, height in pixels
    recordings: tuple[ShardEntry, ...]  # sorted by split and name

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a dataset.

        Raises:
            DatasetError: there is none, it is damaged, or another version wrote it.
        """
        path = folder / MANIFEST
        again = f"ingest the recordings again with `spiketune ingest SOURCE {folder}`"
        try:
            values = json.loads(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise DatasetError(f"{folder}: holds no {MANIFEST}, so it is no dataset; {again}") from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: cannot be read ({error}); remove the folder and {again}") from None
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise DatasetError(
                f"{path}: schema_version={version}, but this version of Spiketune reads {SCHEMA_VERSION}; "
                f"remove the folder and {again}"
            )
        try:
            return cls.parse(values, str(path))
        except ConfigError as error:
            raise DatasetError(f"{error}; remove the folder and {again}") from None


def shard_path(folder: Path, split: Split, name: str) -> Path:
    """Where a recording's shard lies in a dataset."""
    return folder / split / f"{name}.arrow"
