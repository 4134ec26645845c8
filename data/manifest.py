"""The manifest of a dataset: its recordings, what was mended in them, and where each came from."""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator

from data.boxes import LabelSet
from data.config import Config
from data.errors import ConfigError, DatasetError
from data.events import Repairs, SensorSize
from data.packing import Words
from data.split import Split as Split
from data.storage import Storage

SCHEMA_VERSION = 2  # rises whenever an older reader would misread
MANIFEST = PurePosixPath("manifest.json")


def _file_name(name: str) -> str:
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise ValueError(f"{name!r} must be a name without / or \\, for files are named after it")
    return name


def _path_below(path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts or "\0" in path:
        raise ValueError(f"{path!r} must lead to a file below the ingested folder")
    return path


# A dataset may come from a stranger: nothing in it names a file outside of the folders that it is for.
RecordingName = Annotated[str, AfterValidator(_file_name)]
SourcePath = Annotated[str, AfterValidator(_path_below)]


class SourceDigest(Config):
    """A file that a recording was made of."""

    path: SourcePath  # below the ingested folder
    bytes: int
    sha256: str


class ShardEntry(Config):
    """One recording in the manifest."""

    name: RecordingName  # of the source file, without its ending
    split: Split
    night: bool | None  # None where the name does not tell
    events: int  # after repairs
    first_us: int  # time of the first event
    last_us: int  # time of the last event
    boxes: int  # after merging and clipping
    repairs: Repairs  # of its events
    boxes_clipped: int  # boxes cut to the frame
    boxes_dropped: int  # boxes of which nothing lay inside the frame
    boxes_left_out: int  # boxes of classes that the dataset has not
    source: SourcePath  # path of the events below the ingested folder
    source_bytes: int  # of the events' file
    source_sha256: str  # of the events' file
    box_source: (
        SourcePath | None
    )  # path of the first file of labels below the ingested folder; None: it has none of its own
    other_sources: tuple[SourceDigest, ...]  # the files besides the events' that it was made of, labels first
    words: Words  # of the shard
    file_bytes: int  # size of the shard file
    sha256: str  # of the shard file

    def digests(self) -> dict[str, SourceDigest]:
        """Every file that it was made of, by its path."""
        events = SourceDigest(path=self.source, bytes=self.source_bytes, sha256=self.source_sha256)
        return {digest.path: digest for digest in (events, *self.other_sources)}


class LeftOut(Config):
    """A recording that could not be read and was left out, as `--skip-damaged` asks."""

    name: RecordingName
    split: Split
    source: SourcePath  # path of the events below the ingested folder
    bytes: int  # of all its files
    reason: str


class Manifest(Config):
    """What a dataset holds: `manifest.json`, written last."""

    schema_version: int  # SCHEMA_VERSION of the writer
    label_set: LabelSet  # what the class numbers of all boxes mean
    source_labels: LabelSet  # what they meant in the files
    label_mapping: tuple[int, ...]  # from a class of the files to one of label_set; -1: left out
    split_rule: str | None  # --split, for recordings that lie in no folder of a split
    size: SensorSize  # of every recording: width, height in pixels
    recordings: tuple[ShardEntry, ...]  # sorted by split and name
    left_out: tuple[LeftOut, ...]  # sorted as recordings

    @classmethod
    def read(cls, storage: Storage, name: PurePosixPath = MANIFEST) -> "Manifest":
        """Read the manifest of a dataset.

        Raises:
            DatasetError: there is none, it is damaged, or another version wrote it.
        """
        where = storage.url(name)
        again = f"ingest the recordings again with `spiketune ingest SOURCE {storage.location}`"
        data = storage.read(name)
        if data is None:
            raise DatasetError(
                f"{storage.location}: holds no {name}, so it is no dataset, or one whose ingestion has not finished; "
                f"{again}"
            )
        try:
            values: Any = json.loads(data.decode("utf-8"))
        except ValueError as error:
            raise DatasetError(f"{where}: cannot be read ({error}); remove the dataset and {again}") from None
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise DatasetError(
                f"{where}: schema_version={version}, but this version of Spiketune reads {SCHEMA_VERSION}; "
                f"remove the dataset and {again}"
            )
        try:
            return cls.parse(values, where)
        except ConfigError as error:
            raise DatasetError(f"{error}; remove the dataset and {again}") from None

    def write(self, storage: Storage, name: PurePosixPath = MANIFEST) -> None:
        """Write the manifest of a dataset, over the one it has; it appears when it is whole."""
        storage.write((self.model_dump_json(indent=1) + "\n").encode(), name)


def shard_name(split: Split, name: str) -> PurePosixPath:
    """Where a recording's shard lies in a dataset."""
    return PurePosixPath(split, f"{name}.arrow")


def shard_path(folder: Path, split: Split, name: str) -> Path:
    """Where a recording's shard lies in a dataset's folder."""
    return folder / shard_name(split, name)
