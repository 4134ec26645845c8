"""Ray's life around a search: a private one on this machine, or the cluster RAY_ADDRESS names."""

import os
import shutil
import tempfile
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
from tuner.halt import Interrupted
from tuner.shares import Sharer, shared
from tuner.sharing import Claim
from tuner.spec.sections import Resources
from tuner.study.record import TrialRecord

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


def settled(default: TrialConfig, resources: Resources, halted: Callable[[], bool]) -> TrialConfig:
    """The configuration with `auto` settled for `training.compile` and `training.precision`, once for all trials.

    A worker answers, not the driver, which may run on a head without GPU or compiler.

    Raises:
        Interrupted: `halted` before any node had room.
    """
    gpus = resources.gpus / resources.ranks
    resolve = ray.remote(num_cpus=resources.cpus, num_gpus=gpus, max_retries=0)(_resolve)
    answer = resolve.remote(default)
    while not ray.wait([answer], timeout=1)[0]:
        if halted():
            raise Interrupted("interrupted before a worker had room for a trial; go on with --resume")
    mode, precision = ray.get(answer)
    return default.with_leaves({"training.compile": mode.value, "training.precision": precision.value}, "auto")


def _resolve(config: TrialConfig) -> tuple[Compile, Precision]:
    device = resolve_device("auto")
    return resolve_compile(config, device), resolve_precision(config, device)


def concurrency(resources: Resources) -> int:
    """How many trials run side by side; on a cluster, whose nodes come and go, that would have it for themselves.

    Raises:
        ConfigError: not even one fits on this machine.
    """
    fits = _room(resources, ray.cluster_resources())
    if fits == 0 and not on_cluster():
        have = ray.cluster_resources()
        raise ConfigError(
            f"resources: a trial needs {needs(resources)}, but there are {have.get('CPU', 0):g} and "
            f"{have.get('GPU', 0):g}; lower resources in the spec"
        )
    return min(fits, resources.max_concurrent or fits)


def on_cluster() -> bool:
    """Whether Ray is another's, and nodes may still come."""
    return bool(os.environ.get("RAY_ADDRESS"))


def needs(resources: Resources) -> str:
    """What a trial takes, for messages."""
    each = f" ({resources.cpus} for each of {resources.ranks} processes)" if resources.ranks > 1 else ""
    return f"{resources.all_cpus} cpus{each} and {resources.gpus:g} gpus"


def _room(resources: Resources, have: Mapping[str, float]) -> int:
    fits = int(have.get("CPU", 0) // resources.all_cpus)
    return min(fits, int(have.get("GPU", 0) / resources.gpus + 1e-9)) if resources.gpus else fits


@contextmanager
def room(resources: Resources, search: str) -> Iterator["Room"]:
    """The room that a search has: this machine, or its share of a cluster.

    Raises:
        ConfigError: not even one trial fits on this machine.
    """
    found = Room(resources)
    if not on_cluster():
        yield found
        return
    with shared(search, found.claim) as found.sharer:
        yield found


class Room:
    """How many trials of a search may run now: asked again and again, for nodes and other searches come and go.

    A listener of the search, to know how many do.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._busy: set[int] = set()
        self._wants: int | None = None
        self._whole = concurrency(resources)
        self.sharer: Sharer | None = None  # None: nobody is asked

    def __call__(self) -> int:
        """So many."""
        most = self._resources.max_concurrent
        if self.sharer is None or self.sharer.share is None:
            return max(self._whole, 1)
        if most is not None and self.sharer.alone:
            return most  # at its word: a cluster may start its workers only when trials ask for them
        return self.sharer.share.trials + self.sharer.share.more

    def wants(self, trials: int | None) -> None:
        """The search has work for so many, and what is more may be others'; None: for all that there is."""
        self._wants = trials

    def is_shared(self) -> bool:
        """Whether other searches would have what this one does not use."""
        return self.sharer is not None and not self.sharer.alone

    def claim(self) -> Claim:
        """What the search asks of the cluster."""
        fits = _room(self._resources, ray.cluster_resources())
        weight, most = self._resources.priority.weight, self._resources.max_concurrent
        return Claim(weight, fits, len(self._busy), most, self._wants)

    def started(self, trial: TrialRecord) -> None:
        """Count a trial that a worker has taken up."""
        self._busy.add(trial.number)

    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def waiting(self, trial: TrialRecord) -> None:
        """Count no more a trial that has left its worker."""
        self._busy.discard(trial.number)

    def ended(self, trial: TrialRecord) -> None:
        """As `waiting`."""
        self._busy.discard(trial.number)


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
