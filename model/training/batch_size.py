"""training.batch_size=auto: as many windows as the memory of a trial holds, found by trying."""

import logging
import math
from collections.abc import Callable

import torch

from data.batches import Batch
from data.dataset import Dataset
from data.errors import TrainingError
from data.loading import LoadingPlan, TrainingLoader
from data.sampling import Order
from model.compilation import resolve_compile
from model.initial import initial_detector
from model.loss import DetectionLoss
from model.team import joined
from model.training.config import AUTO, Compile
from model.training.lessons import lessons
from model.training.memory import give_back, is_out_of_memory, measured_peak, trial_share_bytes
from model.training.precision import Numerics, resolve_precision
from model.trial_config import TrialConfig

log = logging.getLogger(__name__)

MOST = 64  # windows of all processes together: a training of few steps learns less, the larger its batches
COPIES = 5  # of the weights: themselves, two moments of the optimizer, an average, and what processes exchange


def largest_batch(try_step: Callable[[int], int], room_bytes: int, most: int) -> int:
    """The most windows whose step fits, even or one.

    Doubles what is tried as long as the line through the last two peaks says that it fits: on a host without limits
    nothing stops a step that does not, and others pay for it.

    Args:
        try_step: takes a step with so many windows, and returns the bytes it took at most.
        room_bytes: that it may take.
        most: windows it may be.

    Raises:
        TrainingError: memory runs out with a single window.
    """
    peak = _peak(try_step, 1)
    if peak is None:
        raise TrainingError(
            "training.batch_size=auto: out of memory with a single window; "
            "lower data.scale, data.time_steps or model.preset"
        )
    size, grows = 1, float(peak)  # bytes a window; at first all of it, which is too much rather than too little
    failed = math.inf  # windows
    while True:
        fits = size + (room_bytes - peak) / grows if grows > 0 else math.inf
        wanted = _even(min(2 * size, most, fits, (size + failed) / 2))
        if wanted <= size:
            return size
        taken = _peak(try_step, wanted)
        if taken is None or taken > room_bytes:
            failed = wanted
            continue
        grows = (taken - peak) / (wanted - size)
        size, peak = wanted, taken


def _even(windows: float) -> int:
    return 1 if windows < 2 else int(windows) // 2 * 2


def _peak(try_step: Callable[[int], int], windows: int) -> int | None:
    """What a step takes; None if there is not so much."""
    try:
        return try_step(windows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def resolve_batch_size(
    config: TrialConfig, dataset: Dataset, device: torch.device, room_bytes: int | None = None
) -> TrialConfig:
    """The configuration with a number for `training.batch_size=auto`, the same in all processes that train together.

    It is the number of the whole team, at most 64 and at most the windows of an epoch. More windows make a step cheaper
    by the window, and the epoch shorter by the step: where the steps are few already, a small batch learns more.

    Args:
        config: what to train.
        dataset: whose first batch is tried.
        device: that it is tried on, with a detector of its own that is thrown away.
        room_bytes: that a step may take; None: this trial's share of what is free.

    Raises:
        TrainingError: memory runs out with a single window.
        DatasetError: there is nothing to train on.
        ConfigError: the device cannot compute what the configuration asks for.
    """
    if config.training.batch_size != AUTO:
        return config
    team = joined(device)
    batch = _first_batch(config, dataset)
    most = max(1, len(batch.windows) // team.ranks)
    room = trial_share_bytes(device) if room_bytes is None else room_bytes
    probe = _Probe(config, dataset, device, batch)
    own = largest_batch(probe, int((room - probe.fixed_bytes) / _growth(config)), most)
    windows = min(team.gather([own])) * team.ranks
    log.info(
        "batch_size=auto: %d windows, %.1f GB of the %.1f GB a trial may take",
        windows,
        (probe.peaks[own] * _growth(config) + probe.fixed_bytes) / 1e9,
        room / 1e9,
    )
    del probe
    give_back(device)
    return config.with_leaves({"training.batch_size": windows}, "training.batch_size=auto")


def _growth(config: TrialConfig) -> float:
    """How much more the largest pictures of a training take than those that are tried."""
    return (1 + config.data.augment.multi_scale) ** 2


def _first_batch(config: TrialConfig, dataset: Dataset) -> Batch:
    """As many windows as a batch may have at most, all of the size that the data are."""
    leaves = {"data.augment.multi_scale": 0.0, "data.workers": 0}
    data = config.with_leaves(leaves, "training.batch_size=auto").data
    training = config.training
    plan = LoadingPlan(
        batch_size=MOST,
        windows_per_epoch=training.windows_per_epoch,
        epochs=training.epochs,
        seed=training.seed,
    )
    return next(iter(TrainingLoader(lessons(dataset, training), data, plan).epoch(1)))


class _Probe:
    """Steps of a detector that is thrown away, on the first windows of a batch."""

    def __init__(self, config: TrialConfig, dataset: Dataset, device: torch.device, batch: Batch) -> None:
        # What is compiled as a whole is tried with compiled neurons: as large, and there in seconds.
        compiled = resolve_compile(config, device) is not Compile.OFF
        self.peaks: dict[int, int] = {}  # bytes, by windows
        self._detector = initial_detector(config, dataset.label_set, compiled).to(device).train()
        self._loss = DetectionLoss(config.loss)
        self._numerics = Numerics(resolve_precision(config, device), device)
        self._streams = config.data.order is not Order.RANDOM
        self._batch = batch
        self._device = device

    @property
    def fixed_bytes(self) -> int:
        """What training holds however many windows there are."""
        return COPIES * sum(value.nbytes for value in self._detector.parameters())

    def __call__(self, windows: int) -> int:
        if not self.peaks:
            self._step(windows)  # the first step of a process compiles and loads, once
        with measured_peak(self._device) as peak:
            self._step(windows)
        self.peaks[windows] = peak.bytes
        return peak.bytes

    def _step(self, windows: int) -> None:
        part = self._batch.rows(0, windows).to(self._device)
        with self._numerics.autocast():
            predictions = self._detector(part.frames_TBCHW, part.continues if self._streams else None)
            total = self._loss(predictions, part).total()
        self._numerics.backward(total)
        self._detector.zero_grad(set_to_none=True)
