"""The file of a search as it stands, before it is known whether its leaves exist: quick to read."""

from typing import Any

from pydantic import Field, ValidationError, model_validator

from data.config import Config, problems
from data.errors import ConfigError
from tuner.located import Located
from tuner.schedulers.names import SchedulerName
from tuner.spec.budget import Budget, Repeat
from tuner.spec.objective import ConstraintText, Objective
from tuner.spec.sections import Recording, Resources, Sampler, Scheduler


class SearchFile(Config):
    """The file as it stands, before its leaves are known to exist."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)
    base: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Any] = Field(min_length=1)
    start_with: tuple[dict[str, Any], ...] = ()  # configurations that are tried first, over base
    names: tuple[str, ...] = ()  # of base and of those of start_with, in this order, as MLflow shows their trials
    warm_start: tuple[str, ...] = ()  # folders of earlier searches, ids of studies, or mlflow:EXPERIMENT
    objective: Objective = Objective()
    constraints: tuple[ConstraintText, ...] = ()
    sampler: Sampler = Sampler()
    scheduler: Scheduler = Scheduler()
    budget: Budget
    repeat: Repeat | None = None
    resources: Resources = Resources()
    mlflow: Recording = Recording()

    @model_validator(mode="after")
    def _fits_together(self) -> "SearchFile":
        if len(self.names) > 1 + len(self.start_with):
            raise ValueError(
                f"names: {len(self.names)} are given, but only base and {len(self.start_with)} of start_with have one"
            )
        several = len(self.objective.also) > 0
        if several and self.repeat is not None:
            raise ValueError("repeat chooses one winner, but with objective.also there is a front; drop one of them")
        if several and self.budget.plateau is not None:
            raise ValueError("budget.plateau is of one objective; drop it or objective.also")
        if self.scheduler.name is SchedulerName.PBT and self.repeat is not None:
            raise ValueError(
                "repeat trains a configuration from the start, but with scheduler 'pbt' a trial goes on with another's "
                "weights; drop one of them"
            )
        return self

    @classmethod
    def read(cls, source: Located) -> "SearchFile":
        """Check what can be checked without knowing the leaves.

        Raises:
            ConfigError: one line for each rule broken, with the file's line and key.
        """
        try:
            return cls.model_validate(source.tree)
        except ValidationError as error:
            found = problems(cls, error)
            raise ConfigError("\n".join(f"{source.where(item.path)}: {item.rule}" for item in found)) from None
