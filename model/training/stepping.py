"""One step of the optimizer: whole or in parts, taken back where it came to nothing."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import record_function

from data.batches import Batch
from data.errors import TrainingError
from data.sampling import Order
from model.detector import SpikingDetector
from model.loss import DetectionLoss
from model.team import Team, accumulating
from model.training.memory import give_back, is_out_of_memory
from model.training.precision import Numerics
from model.training.undo import Potentials, Undo, joined_rows, rows_of
from model.trial_config import TrialConfig

log = logging.getLogger(__name__)

GRADIENT = "gradient"  # the name of what is not finite where every term of the loss was


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did."""

    loss: dict[str, float]  # weighted terms by name
    skipped: str | None  # the term that was not finite; then no weight was changed
    forward: float  # seconds
    backward: float
    optimizer: float


@dataclass(slots=True)
class _Clock:
    """Seconds by part of a step."""

    forward: float = 0.0
    backward: float = 0.0
    optimizer: float = 0.0


class Stepper:
    """Takes steps; where memory runs out it halves what is computed at once, and adds the gradients up."""

    def __init__(
        self,
        config: TrialConfig,
        detector: SpikingDetector,
        loss: DetectionLoss,
        optimizer: torch.optim.Optimizer,
        numerics: Numerics,
        team: Team,
    ) -> None:
        self.net: nn.Module = detector  # or what wraps it
        self.numerics = numerics
        self.undo = Undo(detector, loss)
        self.parts = 1  # of each batch
        self._streams = config.data.order is not Order.RANDOM
        self._clip = config.optimizer.clip_norm
        self._detector = detector
        self._loss = loss
        self._optimizer = optimizer
        self._team = team

    def step(self, batches: Sequence[Batch]) -> StepResult:
        """One step on the mean gradient of all windows of these batches.

        Raises:
            TrainingError: memory runs out with a single window.
        """
        while True:
            before = self.undo.before()
            try:
                result = self._attempt(batches)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                told = str(error).strip().splitlines()
            else:
                if result.skipped is not None:
                    self.undo.back(before)
                return result
            # Not in the except block: there the error's frames still hold what has to be given back.
            self._optimizer.zero_grad(set_to_none=True)
            self.undo.back(before)
            self._halve(max(len(batch.windows) for batch in batches), told[0] if told else "no memory")

    def _halve(self, rows: int, told: str) -> None:
        if self._team.ranks > 1:
            raise TrainingError(
                f"out of memory ({told}), and a step of several processes cannot be taken back; "
                "lower training.batch_size"
            )
        if self.parts >= rows:
            raise TrainingError(
                f"out of memory with a single window ({told}); lower data.scale, data.time_steps or model.preset"
            )
        self.parts = min(2 * self.parts, rows)
        give_back(self._team.device)
        log.warning(
            "out of memory (%s): each batch of %d windows is now computed in %d parts, whose gradients are added up",
            told,
            rows,
            self.parts,
        )

    def _attempt(self, batches: Sequence[Batch]) -> StepResult:
        self._optimizer.zero_grad(set_to_none=True)
        clock, sums = _Clock(), dict[str, float]()
        for part, share, last in self._parts_of(batches):
            with accumulating(self.net, not last):
                terms = self._add_gradients(part, share, clock)
            sums = {name: sums.get(name, 0.0) + share * value for name, value in terms.items()}
            broken = [name for name, value in terms.items() if not math.isfinite(value)]
            if broken:
                return StepResult(sums, ", ".join(broken), clock.forward, clock.backward, 0.0)
        start = time.perf_counter()
        with record_function("optimizer"):
            parameters = [p for p in self._detector.parameters() if p.grad is not None]
            stepped = self.numerics.step(self._optimizer, parameters, self._clip)
        clock.optimizer = time.perf_counter() - start
        return StepResult(sums, None if stepped else GRADIENT, clock.forward, clock.backward, clock.optimizer)

    def _parts_of(self, batches: Sequence[Batch]) -> Iterator[tuple[Batch, float, bool]]:
        """What is computed at once, its share of the step's windows, and whether it is the last of the step.

        Membranes are those of the part while it is at the receiver's, and of the whole batch after its last one.
        """
        windows = sum(len(batch.windows) for batch in batches)
        membranes = self.undo.membranes
        for batch in batches:
            rows, last_batch = len(batch.windows), batch is batches[-1]
            if self.parts == 1:
                yield batch, rows / windows, last_batch
                continue
            whole, after = membranes.read(), list[Potentials]()
            size = math.ceil(rows / self.parts)
            for first in range(0, rows, size):
                end = min(first + size, rows)
                membranes.write(rows_of(whole, first, end))
                yield batch.rows(first, end), (end - first) / windows, last_batch and end == rows
                after.append(membranes.read())
            membranes.write(joined_rows(after))

    def _add_gradients(self, part: Batch, share: float, clock: _Clock) -> dict[str, float]:
        """Add a part's gradients to those there are; its terms, or nothing is added where one is not finite."""
        start = time.perf_counter()
        with record_function("forward"), self.numerics.autocast():
            predictions = self.net(part.frames_TBCHW, part.continues if self._streams else None)
            terms = self._loss(predictions, part)
            values = self._team.mean_by_name(terms.as_dict())  # of the whole batch; not finite if it is not anywhere
        forward = time.perf_counter()
        clock.forward += forward - start
        if not all(map(math.isfinite, values.values())):
            return values
        with record_function("backward"):
            self.numerics.backward(terms.total() * share)
        clock.backward += time.perf_counter() - forward
        return values
