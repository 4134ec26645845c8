"""The journal of an ingestion: which shards are done, so that one that was interrupted goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import astuple
from pathlib import PurePosixPath
from typing import TypeAlias

from data.config import Config
from data.errors import ConfigError
from data.events import SensorSize
from data.formats.finding import Finding
from data.formats.label_scheme import LabelScheme
from data.manifest import MANIFEST, SCHEMA_VERSION, Manifest, ShardEntry, Split, shard_name
from data.parallel import ask_each
from data.storage import Storage

FOLDER = PurePosixPath(".ingest")
_ASIDE = FOLDER / MANIFEST

Key: TypeAlias = tuple[Split, str]  # split and name of a recording


class Finished(Config):
    """A shard that is whole."""

    made_of: str  # digest of all that decides its bytes
    size: SensorSize  # of the recording
    entry: ShardEntry


def digest_of(finding: Finding, scheme: LabelScheme, source: Storage, bytes_of: Mapping[PurePosixPath, int]) -> str:
    """What decides a shard's bytes, as far as it can be told without reading files: names, sizes, times, options."""
    root = source.local
    times = [] if root is None else [(root / path).stat().st_mtime_ns for path in finding.files]
    sizes = [bytes_of[path] for path in finding.files]
    decides = [SCHEMA_VERSION, source.location, str(finding), astuple(scheme), sizes, times]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


class Journal:
    """One file for each finished shard in the target's hidden folder; gone when the manifest is written."""

    def __init__(self, target: Storage) -> None:
        self._target = target

    def find(self, finding: Finding, made_of: str) -> Finished | None:
        """The finished shard of a recording, if it is made of this and still there."""
        data = self._target.read(_place(finding.split, finding.name))
        if data is None:
            return None
        try:
            finished = Finished.parse(json.loads(data), "journal")
        except (ValueError, ConfigError):  # cut by a loss of power: the shard is made again
            return None
        there = self._target.size(shard_name(finding.split, finding.name)) == finished.entry.file_bytes
        return finished if there and finished.made_of == made_of else None

    def record(self, finished: Finished) -> None:
        """Note a shard that is whole and in its place."""
        data = finished.model_dump_json(indent=1).encode()
        self._target.write(data, _place(finished.entry.split, finished.entry.name))

    def manifest(self) -> Manifest | None:
        """The manifest of the dataset as it was before a change that is not finished."""
        return None if self._target.size(_ASIDE) is None else Manifest.read(self._target, _ASIDE)

    def set_aside(self, manifest: Manifest, replaced: Collection[Key]) -> None:
        """Take the manifest away while shards of it are replaced: what is half changed must not be opened."""
        entries = tuple(
            # No file has this size: whatever is there from now on, only the journal may say that it is whole.
            entry.model_copy(update={"file_bytes": -1}) if (entry.split, entry.name) in replaced else entry
            for entry in manifest.recordings
        )
        manifest.model_copy(update={"recordings": entries}).write(self._target, _ASIDE)
        self._target.remove(MANIFEST)

    def clear(self, manifest: Manifest) -> None:
        """Forget all, once the manifest is written; shards that it does not name go too."""
        kept = {(entry.split, entry.name) for entry in manifest.recordings}
        if self._target.local is None:  # what is hidden cannot be listed there
            noted = kept | {(out.split, out.name) for out in manifest.left_out}
            ask_each(self._target.remove, (_place(split, name) for split, name in noted), far=True)
            self._target.remove(_ASIDE)
            return
        folder = self._target.local / FOLDER
        for split in Split:
            for path in (folder / split).glob("*.json"):
                if (split, path.stem) not in kept:
                    self._target.remove(shard_name(split, path.stem))
        shutil.rmtree(folder, ignore_errors=True)


def _place(split: Split, name: str) -> PurePosixPath:
    return FOLDER / split / f"{name}.json"
