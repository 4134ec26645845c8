"""The sections of a specification that say how trials are proposed, compared and run."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field, model_validator

from data.config import Config
from tuner.samplers.names import SamplerName
from tuner.schedulers.names import SchedulerName

_LEARNING = frozenset({SamplerName.AUTO, SamplerName.TPE, SamplerName.GP})
_WITH_RUNGS = frozenset({SchedulerName.ASHA, SchedulerName.PROMOTION, SchedulerName.HYPERBAND, SchedulerName.PBT})


class Fidelity(StrEnum):
    """At which costs trials are compared before they have the full one."""

    EPOCHS = "epochs"  # rungs at grace, and at ever longer trainings
    PHASES = "phases"  # rungs at the ends of training.phases: fewer pixels, time steps or recordings


class Sampler(Config):
    """How trials are proposed."""

    name: SamplerName = SamplerName.AUTO
    seed: int = Field(default=0, ge=0)
    startup_trials: int | None = Field(default=None, ge=1)  # before a model proposes; null: the sampler's own number

    @model_validator(mode="after")
    def _only_what_is_read(self) -> "Sampler":
        if self.name not in _LEARNING:
            _refuse_unread(self, "sampler", {"startup_trials"})
        return self


class Scheduler(Config):
    """How weak trials are stopped."""

    name: SchedulerName = SchedulerName.PROMOTION
    fidelity: Fidelity = Fidelity.EPOCHS
    grace: int = Field(default=2, ge=1)  # epochs no trial is stopped before; the first rung; of pbt, between any two
    reduction_factor: float = Field(default=3, ge=2)  # eta in ASHA (Li et al. 2020): 1/eta of each rung survives
    brackets: int = Field(default=1, ge=1)  # of asha and promotion: further ones begin a rung later

    @model_validator(mode="after")
    def _only_what_is_read(self) -> "Scheduler":
        match self.name:
            case SchedulerName.NONE:
                _refuse_unread(self, "scheduler", {"fidelity", "grace", "reduction_factor", "brackets"})
            case SchedulerName.MEDIAN | SchedulerName.PBT:
                _refuse_unread(self, "scheduler", {"fidelity", "reduction_factor", "brackets"})
            case SchedulerName.HYPERBAND:
                _refuse_unread(self, "scheduler", {"brackets"})
        if self.fidelity is Fidelity.PHASES and "grace" in self.model_fields_set:
            raise ValueError("grace is not read with fidelity 'phases', whose first end is the first rung; remove it")
        return self

    @property
    def has_rungs(self) -> bool:
        """Whether it compares trials at rungs, of which the first is at `grace`."""
        return self.name in _WITH_RUNGS

    @property
    def thinning(self) -> float:
        """How many trials are left of so many at each rung; in a population an heir takes each loser's place."""
        return 1.0 if self.name is SchedulerName.PBT else self.reduction_factor


def _refuse_unread(given: Sampler | Scheduler, role: str, unread: Iterable[str]) -> None:
    for key in sorted(set(unread) & given.model_fields_set):
        raise ValueError(f"{key} is not read by the {role} '{given.name.value}'; remove it")


class Priority(StrEnum):
    """Which part of a cluster a search has beside others."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def weight(self) -> int:
        """A search of twice the weight has twice the trials at a time."""
        return {Priority.LOW: 1, Priority.NORMAL: 2, Priority.HIGH: 4}[self]


class Resources(Config):
    """What one trial takes."""

    cpus: int = Field(default=1, ge=1)  # threads of each of its processes; two trials of one thread beat one of two
    gpus: float = Field(default=0, ge=0)  # a share of one, or whole ones; of all its processes together
    processes: int | None = Field(default=None, ge=1)  # that train it on parts of each batch; null: one for each GPU
    max_concurrent: int | None = Field(default=None, ge=1)  # trials at a time; null (auto) runs as many as fit
    priority: Priority = Priority.NORMAL  # beside other searches of a cluster

    @model_validator(mode="before")
    @classmethod
    def _auto(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("max_concurrent") == "auto":
            return {**given, "max_concurrent": None}
        return given

    @model_validator(mode="after")
    def _gpus_can_be_given(self) -> "Resources":
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus={self.gpus:g} must be a share of one, or a whole number")
        if self.gpus and self.ranks > 1 and self.gpus % self.ranks:
            raise ValueError(
                f"processes={self.ranks} must divide gpus={self.gpus:g}; give each process a GPU, or drop processes"
            )
        return self

    @property
    def ranks(self) -> int:
        """How many processes train a trial."""
        return self.processes or max(int(self.gpus), 1)

    @property
    def all_cpus(self) -> int:
        """CPUs that a trial takes, with all of its processes."""
        return self.ranks * self.cpus


class Recording(Config):
    """What MLflow gets besides numbers."""

    checkpoints: int = Field(default=1, ge=0)  # of the best trials; the default configuration's always goes there
