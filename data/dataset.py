"""Datasets: the ingested recordings of one sensor and one label set, on this machine or far away."""

import os
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from data.errors import DatasetError
from data.manifest import Manifest, Split, shard_name
from data.node_cache import NodeCache, rebuild
from data.shards import Shard
from data.storage import Storage, open_storage


class Dataset:
    """Ingested recordings of one sensor and one label set. Pickles without what has been mapped or fetched."""

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self.location = storage.location
        self.manifest = manifest
        self.label_set = manifest.label_set
        self.size = manifest.size
        self._storage = storage
        place = _OnThisMachine(storage)
        self._shards = [
            Shard(
                partial(place.of, shard_name(entry.split, entry.name), entry.sha256, entry.file_bytes), entry, self.size
            )
            for entry in sorted(manifest.recordings, key=lambda entry: entry.name)
        ]

    @classmethod
    def open(cls, location: str | Path) -> "Dataset":
        """Open a dataset at a path or a URL; its shards are fetched and mapped when they are first used.

        Raises:
            DatasetError: there is none here, or a shard on this machine is missing or not of its size.
            InputError: the location cannot be understood or reached.
        """
        storage = open_storage(location)
        manifest = Manifest.read(storage)
        if storage.local is not None:
            _check_sizes(storage, storage.local, manifest)
        return cls(storage, manifest)

    @cached_property
    def digest(self) -> str:
        """What the recordings, their labels and splits are, in 64 hexadecimal digits: the same wherever they lie."""
        return sha256(self.manifest.model_dump_json().encode()).hexdigest()

    def splits(self) -> list[Split]:
        """The splits that hold recordings."""
        return [split for split in Split if any(shard.split is split for shard in self._shards)]

    def shards(self, split: Split) -> tuple[Shard, ...]:
        """The recordings of a split, sorted by name.

        Raises:
            DatasetError: the split is empty.
        """
        chosen = tuple(shard for shard in self._shards if shard.split is split)
        if not chosen:
            filled = ", ".join(sorted({shard.split for shard in self._shards}))
            raise DatasetError(
                f"{self.location}: split '{split}' holds no recording; ingest some for it, or use: {filled}"
            )
        return chosen

    def class_counts(self, split: Split) -> npt.NDArray[np.int64]:
        """How many boxes of each class [K] the recordings of a split hold."""
        counts = np.zeros(len(self.label_set.classes), np.int64)
        for shard in self.shards(split):
            counts += np.bincount(shard.boxes.class_id, minlength=len(counts))
        return counts

    def __reduce__(self) -> tuple[object, ...]:
        return Dataset, (self._storage, self.manifest)


class _OnThisMachine:
    """Where shards are on this machine: in the dataset's folder, or in the cache that fetches them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def of(self, name: PurePosixPath, sha256: str, bytes: int) -> Path:  # noqa: A002
        """The file of a shard."""
        if self._storage.local is not None:
            return self._storage.local / name
        return self._cache.locate(self._storage, name, sha256, bytes)

    @cached_property
    def _cache(self) -> NodeCache:
        return NodeCache.of_this_machine()


def _check_sizes(storage: Storage, folder: Path, manifest: Manifest) -> None:
    """Look at every shard's size, with one look at each folder: there may be ten thousand of them."""
    sizes = {split: _sizes(folder / split) for split in {entry.split for entry in manifest.recordings}}
    for entry in manifest.recordings:
        name = shard_name(entry.split, entry.name)
        size = sizes[entry.split].get(name.name)
        if size != entry.file_bytes:
            found = "is missing" if size is None else f"has {size} bytes instead of {entry.file_bytes}"
            raise DatasetError(f"{storage.url(name)}: the shard {found}; {rebuild(storage, name)}")


def _sizes(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except FileNotFoundError:
        return {}
