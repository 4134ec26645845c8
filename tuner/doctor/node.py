"""What a node finds out of itself. Runs there: as an actor of Ray, or in this machine's own process."""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from data.dataset import Dataset
from data.errors import SpiketuneError
from data.node_cache import cache_folder
from data.storage import is_url, open_storage
from tuner.doctor.facts import DatasetFacts, Disk, Listener, SecretFile
from tuner.jobs.package import code_files
from tuner.services.state import default_folder

_PACKAGES = ("ray", "torch", "spiketune")
_COUNT_GPUS = "import torch; print(torch.cuda.device_count())"
_TORCH_S = 60.0
_GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/kfd"))
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_CODE_DIGITS = 10


class Examiner:
    """Answers questions of one node; each answer is plain data."""

    def about(self, shared: str | None, ray_gpus: float) -> dict[str, Any]:
        """The part of NodeFacts that needs nobody else."""
        gpus, wrong = _torch_gpus() if ray_gpus > 0 or any(device.exists() for device in _GPU_DEVICES) else (None, "")
        return {
            "versions": _versions(),
            "torch_gpus": gpus,
            "torch_wrong": wrong,
            "auth_mode": os.environ.get("RAY_AUTH_MODE", ""),
            "disks": _disks(shared),
            "listeners": _listeners(),
            "secrets": _secrets(),
        }

    def now(self) -> float:
        """Its clock, s since 1970."""
        return time.time()

    def write(self, place: str, name: str, text: str) -> str:
        """Write a small file in the shared place; what went wrong."""
        if not is_url(place) and not Path(place).expanduser().is_dir():
            return f"{place} is no folder there"  # writing would make it, as where a network disk is not mounted
        try:
            open_storage(place).write(text.encode(), PurePosixPath(name))
        except (SpiketuneError, OSError) as error:
            return str(error)
        return ""

    def read(self, place: str, name: str, text: str, writer: str) -> str:
        """Look for what another node, the writer, wrote; what is wrong with it."""
        try:
            found = open_storage(place).read(PurePosixPath(name))
        except (SpiketuneError, OSError) as error:
            return str(error)
        if found is None:
            return f"what {writer} wrote in {place} is not there"
        return "" if found == text.encode() else f"{place}/{name} holds something else than {writer} wrote"

    def remove(self, place: str, name: str) -> str:
        """Remove such a file; what went wrong."""
        try:
            open_storage(place).remove(PurePosixPath(name))
        except (SpiketuneError, OSError) as error:
            return str(error)
        return ""

    def dataset(self, location: str) -> dict[str, Any]:
        """DatasetFacts of it."""
        try:
            return DatasetFacts(digest=Dataset.open(location).digest).model_dump()
        except (SpiketuneError, OSError) as error:
            return DatasetFacts(wrong=str(error)).model_dump()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found | {"code": _code_digest()}


def _code_digest() -> str:
    """Of the project's files as this process finds them."""
    root = Path(__file__).parents[2]
    whole = hashlib.sha256()
    for path in code_files():
        whole.update(f"{path.relative_to(root)}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:_CODE_DIGITS]


def _torch_gpus() -> tuple[int | None, str]:
    """GPUs as PyTorch counts them where Ray hides none, and what went wrong with that."""
    # Ray hides all GPUs from a process that asked for none; the process that started it sees what Ray counts.
    environment = {name: value for name, value in os.environ.items() if name != _VISIBLE}
    try:
        parent = psutil.Process().parent()
        given = None if parent is None else parent.environ().get(_VISIBLE)
    except psutil.Error:
        given = None
    if given is not None:
        environment[_VISIBLE] = given
    try:
        asked = subprocess.run(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-c", _COUNT_GPUS],
            env=environment, capture_output=True, text=True, timeout=_TORCH_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, f"PyTorch did not count them in {_TORCH_S:.0f} s"
    if asked.returncode != 0:
        return None, (asked.stderr.strip().splitlines() or ["PyTorch cannot be imported"])[-1]
    return int(asked.stdout), ""


def _disks(shared: str | None) -> list[dict[str, Any]]:
    places = {"temporary files": Path(tempfile.gettempdir()), "the node cache": cache_folder()}
    if shared and not is_url(shared):
        places["the shared folder"] = Path(shared).expanduser()
    found = []
    for place, path in places.items():
        standing = next((folder for folder in (path, *path.parents) if folder.is_dir()), None)
        if standing is not None:
            room = psutil.disk_usage(str(standing))
            disk = Disk(place=place, path=str(path), free_gb=room.free / 1e9, total_gb=room.total / 1e9)
            found.append(disk.model_dump())
    return found


def _listeners() -> list[dict[str, Any]]:
    found = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.net_connections("tcp")
        if connection.laddr and connection.status == psutil.CONN_LISTEN
    }
    return [Listener(address=address, port=port).model_dump() for address, port in sorted(found)]


def _secrets() -> list[dict[str, Any]]:
    """Files with passwords or tokens, in the places where they are wont to lie."""
    token = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    named = [Path(name).expanduser() for name in (token, "~/.mlflow/credentials", "~/.pgpass")]
    services = default_folder()
    kept = [path for pattern in ("*.env", "users/*.env", "secrets/*") for path in sorted(services.glob(pattern))]
    return [secret.model_dump() for path in (*named, *kept) if (secret := secret_file(path)) is not None]


def secret_file(path: Path) -> SecretFile | None:
    """A file and who may read it; None where there is none, or it is hidden from us."""
    try:
        return SecretFile(path=str(path), mode=path.stat().st_mode & 0o777) if path.is_file() else None
    except OSError:
        return None
