"""Datasets: the ingested recordings of one sensor and one label set."""

from pathlib import Path

from data.errors import DatasetError
from data.manifest import Manifest, Split, shard_path
from data.shards import Shard


class Dataset:
    """Ingested recordings of one sensor and one label set."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.label_set = manifest.label_set
        self.size = manifest.size
        self._shards = [
            Shard(shard_path(path, entry.split, entry.name), entry, manifest.size)
            for entry in sorted(manifest.recordings, key=lambda entry: entry.name)
        ]

    @classmethod
    def open(cls, path: Path) -> "Dataset":
        """Open a dataset; its shards are mapped when they are first used.

        Raises:
            DatasetError: there is none here, or a shard is missing or not of its size.
        """
        dataset = cls(path, Manifest.read(path))
        for entry in dataset.manifest.recordings:
            shard = shard_path(path, entry.split, entry.name)
            size = shard.stat().st_size if shard.is_file() else None
            if size != entry.file_bytes:
                found = "is missing" if size is None else f"has {size} bytes instead of {entry.file_bytes}"
                raise DatasetError(f"{shard}: the shard {found}; remove the dataset and ingest its recordings again")
        return dataset

    def shards(self, split: Split) -> tuple[Shard, ...]:
        """The recordings of a split, sorted by name.

        Raises:
            DatasetError: the split is empty.
        """
        chosen = tuple(shard for shard in self._shards if shard.split is split)
        if not chosen:
            filled = ", ".join(sorted({shard.split for shard in self._shards}))
            raise DatasetError(f"{self.path}: split '{split}' holds no recording; ingest some for it, or use: {filled}")
        return chosen
