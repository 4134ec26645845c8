"""Ray's life around a search: a private one on this machine, or the cluster RAY_ADDRESS names."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from data.errors import ConfigError
from model.compilation import resolve_compile
from model.device import resolve_device
from model.training.config import Compile, Precision
from model.training.precision import resolve_precision
from model.trial_config import TrialConfig
from tuner.spec.sections import Resources

_ASK_AGAIN_S = 2.0
_HOME = "spiketune-"
OBJECT_STORE_BYTES = 200 * 1024 * 1024  # only the trials' job and reports travel through it


@contextmanager
def ray_running(log: Path) -> Iterator[None]:
    """Start Ray or connect to it; at the end stop it, and append what the workers printed to `log`."""
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()
        return
    _remove_homes_of_the_dead()
    # Not TMPDIR: Ray's sockets lie below it, and a socket's path may have 107 bytes only.
    home = Path(tempfile.mkdtemp(prefix=f"{_HOME}{os.getpid()}-", dir="/tmp"))
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            _temp_dir=str(home),
        )
        yield
    finally:
        ray.shutdown()
        _collect_logs(home, log)
        shutil.rmtree(home, ignore_errors=True)


def _remove_homes_of_the_dead() -> None:
    """A search that was killed could not remove its own; Ray's processes have died with it."""
    for home in Path("/tmp").glob(f"{_HOME}*-*"):  # noqa: S108 - where ray_running makes them
        owner = home.name.removeprefix(_HOME).split("-")[0]
        with suppress(OSError):
            if owner.isdecimal() and home.stat().st_uid == os.getuid() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(home, ignore_errors=True)


def settled(default: TrialConfig, resources: Resources) -> TrialConfig:
    """The configuration with `auto` settled for `training.compile` and `training.precision`, once for all trials.

    A worker answers, not the driver, which may run on a head without GPU or compiler.
    """
    concurrency(resources)  # raises: a task that fits nowhere would wait for ever
    gpus = resources.gpus / resources.ranks
    resolve = ray.remote(num_cpus=resources.cpus, num_gpus=gpus, max_retries=0)(_resolve)
    mode, precision = ray.get(resolve.remote(default))
    return default.with_leaves({"training.compile": mode.value, "training.precision": precision.value}, "auto")


def _resolve(config: TrialConfig) -> tuple[Compile, Precision]:
    device = resolve_device("auto")
    return resolve_compile(config, device), resolve_precision(config, device)


def concurrency(resources: Resources) -> int:
    """How many trials run side by side.

    A cluster may start its workers only when trials ask for them, so there `max_concurrent` is taken at its word.

    Raises:
        ConfigError: not even one fits.
    """
    if os.environ.get("RAY_ADDRESS") and resources.max_concurrent:
        return resources.max_concurrent
    have = ray.cluster_resources()
    fits = _room(resources, have)
    if fits == 0:
        raise ConfigError(
            f"resources: a trial needs {_told(resources)} and {resources.gpus:g} gpus, but there are "
            f"{have.get('CPU', 0):g} and {have.get('GPU', 0):g}; lower resources in the spec, or set "
            "resources.max_concurrent where a cluster starts its workers on demand"
        )
    return min(fits, resources.max_concurrent or fits)


def _room(resources: Resources, have: Mapping[str, float]) -> int:
    fits = int(have.get("CPU", 0) // resources.all_cpus)
    return min(fits, int(have.get("GPU", 0) / resources.gpus + 1e-9)) if resources.gpus else fits


def room(resources: Resources) -> Callable[[], int]:
    """How many trials may run now: asked again and again, for nodes come and go.

    Raises:
        ConfigError: at once, if not even one fits, nor could on a cluster that grows.
    """
    concurrency(resources)
    asked: tuple[float, int] | None = None

    def now() -> int:
        nonlocal asked
        if asked is None or time.monotonic() - asked[0] > _ASK_AGAIN_S:
            asked = (time.monotonic(), _fits(resources))
        return asked[1]

    return now


def _fits(resources: Resources) -> int:
    if not os.environ.get("RAY_ADDRESS"):
        return concurrency(resources)
    # On a cluster one more than fits: the trial that waits is what makes an autoscaler start a node.
    return resources.max_concurrent or _room(resources, ray.cluster_resources()) + 1


def _told(resources: Resources) -> str:
    each = f" ({resources.cpus} for each of {resources.ranks} processes)" if resources.ranks > 1 else ""
    return f"{resources.all_cpus} cpus{each}"


def of_the_trial(resources: Resources) -> dict[str, float]:
    """What Ray reserves for a trial's own process; several that train together are given theirs when they start."""
    if resources.ranks > 1:
        # It only waits for them. Part of a CPU might be just what is missing, and Tune refuses what takes nothing.
        return {"cpu": 0, "gpu": 0, "memory": 1 << 20}
    return {"cpu": resources.cpus, "gpu": resources.gpus}


def _collect_logs(home: Path, log: Path) -> None:
    with log.open("a", encoding="utf-8") as target:
        for file in sorted(home.glob("session_2*/logs/worker-*")):
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            if text:
                target.write(f"\n--- {file.name}\n{text}\n")
