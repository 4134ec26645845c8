"""Object storage: S3, Google Cloud Storage and whatever else pyarrow or fsspec reaches, over networks that fail."""

import ctypes
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from data.errors import InputError
from data.object_url import ObjectUrl
from data.storage import SourceFile, Storage, partial_path, whole_file

T = TypeVar("T")

PAUSES_S = (0.2, 1.0, 3.0, 8.0, 16.0)  # between the tries of one request
FIRST_PAUSES = 2  # as long as the store has never answered: most likely the location is wrong
READ_BYTES = 8 << 20  # of one request
WRITE_BYTES = 64 << 20  # on their way at one time, in parts
# What a store says of a request will be said of it again.
FINAL = (
    "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "SIGNATURE_DOES_NOT_MATCH", "NO_SUCH_BUCKET",
    "HTTP status 301", "HTTP status 401", "HTTP status 403", "HTTP status 404", "ExpiredToken",
    "PermanentRedirect", "Permission denied", "PERMISSION_DENIED", "UNAUTHENTICATED", "Could not create a OAuth2",
)  # fmt: skip


class ObjectStorage(Storage):
    """Objects below a prefix of a bucket; a request that fails is tried again, and a fetch goes on where it was."""

    local = None

    def __init__(self, location: str) -> None:
        self._url = ObjectUrl.parse(location)
        self.location = self._url.location
        self._answered = False

    def url(self, name: PurePosixPath) -> str:
        return self._url.of(name)

    def files(self, missing_ok: bool = False) -> list[SourceFile]:
        filesystem, base = self._connection
        selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
        found = self._persist(lambda: filesystem.get_file_info(selector), self.location)
        files = [
            SourceFile(PurePosixPath(info.path.strip("/")).relative_to(base.strip("/")), info.size)
            for info in found
            if info.type == fs.FileType.File
        ]
        if not files:
            self._check_bucket()
            if not missing_ok:
                raise InputError(f"{self.location}: holds no file; check the names of the bucket and the folder")
        visible = (file for file in files if not any(part.startswith(".") for part in file.path.parts))
        return sorted(visible, key=lambda file: file.path)

    def size(self, name: PurePosixPath) -> int | None:
        filesystem, path = self._at(name)
        info = self._persist(lambda: filesystem.get_file_info(path), self.url(name))
        if info.type == fs.FileType.File:
            return int(info.size)
        self._check_bucket()
        return None

    def read(self, name: PurePosixPath) -> bytes | None:
        try:
            return b"".join(self._chunks(name))
        except FileNotFoundError:
            self._check_bucket()
            return None

    def fetch(self, name: PurePosixPath, to: Path) -> None:
        try:
            chunks = self._chunks(name)
            first = next(chunks, b"")
        except FileNotFoundError:
            self._check_bucket()
            raise InputError(f"{self.url(name)}: there is no such file") from None
        with whole_file(to) as target:
            target.write(first)
            for chunk in chunks:
                target.write(chunk)

    def put(self, path: Path, name: PurePosixPath) -> None:
        with pa.memory_map(str(path)) as source:
            self._upload(source.read_buffer(), name)

    def write(self, data: bytes, name: PurePosixPath) -> None:
        self._upload(pa.py_buffer(data), name)

    def remove(self, name: PurePosixPath) -> None:
        filesystem, path = self._at(name)

        def attempt() -> None:
            try:
                filesystem.delete_file(path)
            except FileNotFoundError:
                return

        self._persist(attempt, self.url(name))

    def _upload(self, content: Any, name: PurePosixPath) -> None:
        filesystem, path = self._at(name)
        partial = path if self._url.whole else str(partial_path(PurePosixPath(path)))

        def attempt() -> None:
            if not self._url.whole:
                filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            _send(content, filesystem, partial)
            if partial != path:
                filesystem.move(partial, path)
            size = filesystem.get_file_info(path).size
            if size != content.size:
                raise OSError(f"{content.size} bytes were sent, but {size} have arrived")

        try:
            self._persist(attempt, self.url(name))
        except FileNotFoundError as error:
            raise self._told(self.url(name), "", error) from None
        finally:
            if partial != path and filesystem.get_file_info(partial).type == fs.FileType.File:
                filesystem.delete_file(partial)

    def _chunks(self, name: PurePosixPath) -> Iterator[Any]:
        """A file's content, one request after the other; FileNotFoundError where there is no such file."""
        source, where = _Source(*self._at(name)), self.url(name)
        size = self._persist(source.size, where)
        position = 0
        while position < size:
            chunk = self._persist(lambda at=position: source.read(at), where)  # type: ignore[misc]
            position += len(chunk)
            yield chunk

    def _at(self, name: PurePosixPath) -> tuple[Any, str]:
        filesystem, base = self._connection
        return filesystem, f"{base}/{name}"

    @cached_property
    def _connection(self) -> tuple[Any, str]:
        try:
            return self._url.connect()
        except (OSError, ValueError, ImportError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise self._told(self.location, "", error) from None

    def _check_bucket(self) -> None:
        """Tell a bucket that is not there from one that lacks a file."""
        filesystem, _ = self._connection
        bucket = self._url.bucket
        if bucket is not None:
            info = self._persist(lambda: filesystem.get_file_info(bucket), self.location)
            if info.type == fs.FileType.NotFound:
                raise InputError(f"{self.location}: there is no bucket '{bucket}'; {self._url.remedy}")

    def _persist(self, attempt: Callable[[], T], where: str) -> T:
        """Do it, over and over if need be.

        Raises:
            FileNotFoundError: as `attempt` does.
            InputError: the store refuses, or does not answer.
        """
        tries = 0
        while True:
            try:
                done = attempt()
            except FileNotFoundError:
                self._answered = True
                raise
            except (OSError, pa.ArrowException) as error:
                tries += 1
                pauses = PAUSES_S if self._answered else PAUSES_S[:FIRST_PAUSES]
                if not _may_pass(error):
                    raise self._told(where, "", error) from None
                if tries > len(pauses):
                    raise self._told(where, f"failed {tries} times, at last with: ", error) from None
                time.sleep(pauses[tries - 1])
            else:
                self._answered = True
                return done

    def _told(self, where: str, before: str, error: BaseException) -> InputError:
        return InputError(f"{where}: {before}{' '.join(str(error).split())}; {self._url.remedy}")


def _may_pass(error: BaseException) -> bool:
    return (
        isinstance(error, OSError)
        and not isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError)
        and not any(mark in str(error) for mark in FINAL)
    )


def _send(content: Any, filesystem: Any, path: str) -> None:
    """Write all of an object; after a failure there is none, or the one there was before."""
    target = filesystem.open_output_stream(path)
    try:
        for start in range(0, content.size, WRITE_BYTES):
            target.write(content.slice(start, min(WRITE_BYTES, content.size - start)))
            target.flush()  # waits for the parts, which bounds what they take of memory
        target.close()
    except BaseException:
        # Closing the stream, as its destruction does too, might complete the object as far as it came, and pyarrow has
        # no way to abort it: so it is kept from ever being destroyed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(target))
        raise


class _Source:
    """A file that is opened when it is read, and anew after a failure."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem, self._path = filesystem, path
        self._file: Any = None

    def size(self) -> int:
        return int(self._opened().size())

    def read(self, position: int) -> bytes:
        try:
            chunk: bytes = self._opened().read_at(READ_BYTES, position)
        except BaseException:
            self._file = None
            raise
        if not chunk:
            raise OSError(f"the file ends at byte {position}; it has changed meanwhile")
        return chunk

    def _opened(self) -> Any:
        if self._file is None:
            self._file = self._filesystem.open_input_file(self._path)
        return self._file
