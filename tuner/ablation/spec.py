"""An ablation's specification: a base, improvements in order, and what is compared."""

from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from data.config import Config
from tuner.spec.objective import Mode, Objective
from tuner.spec.sections import Resources
from tuner.study.record import SCORES


class Design(StrEnum):
    """Which configurations an ablation compares."""

    CUMULATIVE = "cumulative"  # each improvement on top of all before it
    LEAVE_ONE_OUT = "leave_one_out"  # all improvements but one
    ONE_AT_A_TIME = "one_at_a_time"  # each alone over the base: for alternatives, and for effects that add up badly


class Column(StrEnum):
    """What a table shows of a configuration, besides its name and what the improvement brings."""

    MAP = "map"
    MAP50 = "map50"
    MAP75 = "map75"
    EPOCH_S = "epoch_s"  # seconds of an epoch with its evaluation, the median over a training
    TOTAL_S = "total_s"  # seconds of all epochs
    SPEED_UP = "speed_up"  # the first configuration's epoch_s against this one's
    TRAINED_PER_S = "trained_per_s"  # windows trained a second, without the evaluation
    PARAMETERS = "parameters"
    MACS = "macs"  # multiply-accumulates a window
    PEAK_STAGE = "peak_stage"  # the stage of the most MACs, and how many: the computational bottleneck
    BALANCE = "balance"  # the peak stage's MACs against the mean of all stages
    CIO = "cio"  # numbers that convolutions read and write a time step (CSPNet)
    FRAMES_PER_S = "frames_per_s"  # windows a second at batch 1, from the median of 30 calls


OF_THE_NET = frozenset(
    {Column.PARAMETERS, Column.MACS, Column.PEAK_STAGE, Column.BALANCE, Column.CIO, Column.FRAMES_PER_S}
)
DEFAULT_COLUMNS = (Column.MAP, Column.EPOCH_S, Column.TOTAL_S, Column.SPEED_UP)


class Improvement(Config):
    """One change of the configuration."""

    name: str = Field(min_length=1, max_length=60)
    set: dict[str, Any] = Field(min_length=1)  # leaves, and what a trial takes: resources.processes, .cpus, .gpus
    claimed: str = ""  # the gain that somebody claims, shown beside what is measured


class Variant(Config):
    """The same ablation at another scale; what is left out stays as it is."""

    base: dict[str, Any] = Field(default_factory=dict)  # leaves over those of base
    improvements: dict[str, dict[str, Any]] = Field(default_factory=dict)  # by name, leaves over those of `set`
    seeds: int | None = Field(default=None, ge=1)
    objective: Objective | None = None
    resources: Resources | None = None


class AblationFile(Config):
    """The file as it stands, before its leaves are known to exist."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)
    base: dict[str, Any] = Field(default_factory=dict)
    improvements: tuple[Improvement, ...] = Field(min_length=1)
    designs: tuple[Design, ...] = Field(default=(Design.CUMULATIVE,), min_length=1)
    columns: tuple[Column, ...] = Field(default=DEFAULT_COLUMNS, min_length=1)
    seeds: int = Field(default=3, ge=1)  # trainings of each configuration, from training.seed of base upwards
    objective: Objective = Objective()
    resources: Resources = Resources()  # of base
    variants: dict[str, Variant] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> "AblationFile":
        names = {
            "improvement": [improvement.name for improvement in self.improvements],
            "design": [design.value for design in self.designs],
            "column": [column.value for column in self.columns],
        }
        for kind, given in names.items():
            twice = next((item for item in given if given.count(item) > 1), None)
            if twice is not None:
                raise ValueError(f"the {kind} '{twice}' is given twice; keep one")
        for objective in (self.objective, *(variant.objective for variant in self.variants.values())):
            if objective is not None:
                _check_objective(objective)
        return self


def _check_objective(objective: Objective) -> None:
    if objective.metric not in SCORES or objective.mode is not Mode.MAX:
        raise ValueError(f"an ablation tells gains in one of {', '.join(SCORES)}, the larger the better; set that")
    if objective.also:
        raise ValueError("objective.also: an ablation compares by one metric; name the others in columns")
