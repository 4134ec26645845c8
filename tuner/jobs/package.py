"""A job's working directory: the code, the order and the env file, and nothing else."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from tuner.jobs.environment import ENV_FILE, PRIVATE, read_environment
from tuner.jobs.order import ORDER_FILE, Order

FLOORS = ("data", "model", "tuner")
CODE = {".py", ".typed", ".css", ".js", ".j2"}  # what the packages are made of; a test compares with the installation
MOST_BYTES = 100 * 1024 * 1024  # Ray's own limit is 512 MiB, and its head keeps what is sent in memory
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Package:
    """A working directory, ready to be sent."""

    folder: Path
    job: str  # its id: the name and a digest of everything but the env file


@contextmanager
def packed(order: Order, env_file: Path | None) -> Iterator[Package]:
    """Make a job's working directory.

    Raises:
        InputError: the env file is none, or all together is too large.
    """
    if env_file is not None:
        read_environment(env_file)
    with code_packed() as folder:
        (folder / ORDER_FILE).write_bytes(order.as_bytes())
        for name, content in order.files.items():
            (folder / name).write_bytes(content)
        job = f"{order.name}-{_digest(folder)}"
        if env_file is not None:
            _write_private(folder / ENV_FILE, env_file.read_bytes())
        _check_size(folder)
        yield Package(folder, job)


@contextmanager
def code_packed() -> Iterator[Path]:
    """A working directory with the code alone."""
    with tempfile.TemporaryDirectory(prefix="spiketune-job-") as name:  # made with mode 700
        folder = Path(name)
        for source in code_files():
            target = folder / source.relative_to(_ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        yield folder


def code_files() -> list[Path]:
    """The files of the three packages."""
    found = (path for floor in FLOORS for path in (_ROOT / floor).rglob("*") if path.suffix in CODE)
    return sorted(path for path in found if path.is_file() and not _hidden(path))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(_ROOT).parts)


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(folder)}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:10]


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
        file.write(content)


def _check_size(folder: Path) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        raise InputError(
            f"the job's working directory has {size >> 20} MiB, more than {MOST_BYTES >> 20}; large files belong "
            "into the dataset, or the folder that every node sees"
        )
