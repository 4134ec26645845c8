"""Storage: where recordings and datasets lie, be it a folder or an object store."""

import hashlib
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

from data.errors import InputError

AnyPath = TypeVar("AnyPath", Path, PurePosixPath)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a storage."""

    path: PurePosixPath  # below the storage's location
    bytes: int


class Storage(ABC):
    """A tree of files; names are relative to its location. Pickles as its location."""

    location: str  # as given; an absolute path where it is one
    local: Path | None  # the folder, if it is on this machine's file system; None: fetch first, then read

    @abstractmethod
    def files(self, missing_ok: bool = False) -> list[SourceFile]:
        """Every file at any depth, sorted by path; what is hidden (a name that starts with '.') is left out.

        Raises:
            InputError: it cannot be listed, or there is no such folder and `missing_ok` is off.
        """

    @abstractmethod
    def size(self, name: PurePosixPath) -> int | None:
        """The bytes of a file; None where there is no such file."""

    @abstractmethod
    def read(self, name: PurePosixPath) -> bytes | None:
        """The content of a small file; None where there is no such file."""

    @abstractmethod
    def fetch(self, name: PurePosixPath, to: Path) -> None:
        """Copy a file to this machine; `to` has all of it or is not there.

        Raises:
            InputError: there is no such file, or it cannot be read.
            OSError: `to` cannot be written.
        """

    @abstractmethod
    def put(self, path: Path, name: PurePosixPath) -> None:
        """Copy a file of this machine here, over one of that name; it appears when it is whole."""

    @abstractmethod
    def write(self, data: bytes, name: PurePosixPath) -> None:
        """Write a small file, over one of that name; it appears when it is whole."""

    @abstractmethod
    def remove(self, name: PurePosixPath) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def url(self, name: PurePosixPath) -> str:
        """A file's place, as it is told to a user."""

    def __reduce__(self) -> tuple[object, ...]:
        return open_storage, (self.location,)


def open_storage(location: str | Path) -> Storage:
    """The storage at a path or a URL; nothing is read yet.

    A path is a folder of this machine. `file://` is a folder too, but one to fetch from, as from a slow network disk.
    `s3://` and `gs://` are object stores; docs/storage.md tells their options.

    Raises:
        InputError: the URL cannot be understood, or carries a password.
    """
    text = str(location)
    if not text.strip():
        raise InputError("the location is empty; give a folder, or a URL such as s3://BUCKET/FOLDER")
    if not is_url(text):
        folder = Path(text).expanduser().absolute()
        return FolderStorage(str(folder), folder, folder)
    parts = urlsplit(text)
    if parts.password is not None:
        raise InputError(
            f"{parts.scheme}://…@{parts.hostname}{parts.path}: carries a password, but locations are recorded; give "
            "credentials by the environment, for S3 as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise InputError(f"{text}: names no folder; write three slashes, as in file:///mnt/nfs/dataset")
        return FolderStorage(text.rstrip("/"), Path(unquote(parts.path)), None)
    from data.object_storage import ObjectStorage  # pyarrow's file systems take time to import

    return ObjectStorage(text)


def is_url(location: str) -> bool:
    """Whether a location is a URL; otherwise it is a path."""
    return _URL.match(location) is not None


def partial_path(path: AnyPath) -> AnyPath:
    """The name a file has until it is whole."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def whole_path(path: Path, ending: str = "") -> Iterator[Path]:
    """A path to write to that becomes `path` when the `with` block ends well, and is removed otherwise.

    `ending` stands at its end, for writers that choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_path(path).name + ending)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that gets its name when the `with` block ends well, and is removed otherwise."""
    with whole_path(path) as partial, partial.open("wb") as file:
        yield file


def whole_text(path: Path, text: str) -> None:
    """Write a text that is there as a whole or as it was before."""
    with whole_file(path) as file:
        file.write(text.encode())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, or a new one might be lost with the power after it was told of."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FolderStorage(Storage):
    """A folder of a mounted file system."""

    def __init__(self, location: str, folder: Path, local: Path | None) -> None:
        self.location, self.local = location, local
        self._folder = folder

    def url(self, name: PurePosixPath) -> str:
        return f"{self.location}/{name}"

    def files(self, missing_ok: bool = False) -> list[SourceFile]:
        if not self._folder.is_dir():
            if missing_ok and not self._folder.exists():
                return []
            raise InputError(f"{self.location}: is no folder; give the folder that holds the files")
        with self._told("cannot be listed; check its permissions"):
            return sorted(_walk(self._folder, PurePosixPath(), ()), key=lambda file: file.path)

    def size(self, name: PurePosixPath) -> int | None:
        path = self._folder / name
        with self._told("cannot be looked at; check its permissions", name):
            return path.stat().st_size if path.is_file() else None

    def read(self, name: PurePosixPath) -> bytes | None:
        with self._told("cannot be read; check its permissions, and the disk", name):
            try:
                return (self._folder / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def fetch(self, name: PurePosixPath, to: Path) -> None:
        try:
            source = (self._folder / name).open("rb")
        except OSError as error:
            raise InputError(f"{self.url(name)}: cannot be read ({error.strerror}); check that it is there") from None
        with source, whole_file(to) as target:
            shutil.copyfileobj(source, target, 1 << 20)

    def put(self, path: Path, name: PurePosixPath) -> None:
        with self._writing(name) as target, path.open("rb") as source:
            shutil.copyfileobj(source, target, 1 << 20)

    def write(self, data: bytes, name: PurePosixPath) -> None:
        with self._writing(name) as target:
            target.write(data)

    def remove(self, name: PurePosixPath) -> None:
        with self._told("cannot be removed; check its permissions", name):
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _writing(self, name: PurePosixPath) -> Iterator[BinaryIO]:
        remedy = "cannot be written; check its permissions and the room on the disk"
        with self._told(remedy, name), whole_file(self._folder / name) as target:
            yield target

    @contextmanager
    def _told(self, remedy: str, name: PurePosixPath | None = None) -> Iterator[None]:
        """Turn an error of the operating system into a sentence."""
        try:
            yield
        except OSError as error:
            where = self.location if name is None else self.url(name)
            what, _, how = remedy.partition("; ")
            raise InputError(f"{where}: {what} ({error.strerror or error}); {how}") from None


def _walk(folder: Path, below: PurePosixPath, above: tuple[tuple[int, int], ...]) -> Iterator[SourceFile]:
    """The files of a folder; links are followed, since large datasets often lie on another disk."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link back up
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = below / entry.name
            if entry.is_dir():
                yield from _walk(Path(entry.path), path, (*above, identity))
            elif entry.is_file():
                yield SourceFile(path, entry.stat().st_size)
            elif entry.is_symlink():
                raise InputError(
                    f"{entry.path}: is a link to {Path(entry.path).readlink()}, where nothing is; bring the file "
                    "back, or remove the link"
                )
