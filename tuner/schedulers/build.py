"""The scheduler a spec asks for."""

from collections.abc import Sequence

from data.errors import ConfigError
from tuner.schedulers.asha import StoppingASHA
from tuner.schedulers.decision import Scheduler
from tuner.schedulers.hyperband import asynchronous_hyperband
from tuner.schedulers.levels import Brackets, rung_epochs
from tuner.schedulers.median import MedianStopping
from tuner.schedulers.names import SchedulerName
from tuner.schedulers.none import NeverStops
from tuner.schedulers.promotion import PromotionASHA


def build_scheduler(
    name: SchedulerName,
    *,
    epochs: int,
    grace: int,
    reduction_factor: float,
    seed: int,
    brackets: int = 1,
    ends: Sequence[int] = (),
    protected: frozenset[int] = frozenset(),
) -> Scheduler:
    """A scheduler that has seen nothing yet.

    Args:
        name: which one. A population needs the space as well, and is built by tuner/assembly.py.
        epochs: of a whole training.
        grace: the first rung, or the first epoch at which the median rule stops.
        reduction_factor: eta: 1/eta of a rung's trials go on, to eta times its epochs.
        seed: of the draws of brackets.
        brackets: of both ASHAs; Hyperband takes all there are.
        ends: the rungs, in place of grace and its multiples.
        protected: numbers of trials that are compared with and never stopped or paused.

    Raises:
        ConfigError: the rungs are impossible, there are more brackets than they allow, or it is a population.
    """
    if name is SchedulerName.PBT:
        raise ConfigError("scheduler 'pbt' moves to other settings of a space, of which nothing is known here")
    if name is SchedulerName.NONE:
        return NeverStops()
    rungs = rung_epochs(epochs, grace, reduction_factor, ends)
    if name is SchedulerName.MEDIAN:
        return MedianStopping(epochs=epochs, grace=rungs[0] if rungs else epochs, protected=protected)
    if name is SchedulerName.HYPERBAND:
        return asynchronous_hyperband(
            rungs, epochs=epochs, reduction_factor=reduction_factor, seed=seed, protected=protected
        )
    halving = PromotionASHA if name is SchedulerName.PROMOTION else StoppingASHA
    drawn = Brackets(rungs, brackets, reduction_factor, seed)
    return halving(drawn, epochs=epochs, reduction_factor=reduction_factor, protected=protected)
