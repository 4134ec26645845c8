"""The `space` of a search specification: one domain for each leaf, or several with conditions."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from data.config import Config, problems
from data.errors import ConfigError
from tuner.domains import Choice, Domain, Integer, Real, Scalar
from tuner.located import KeyPath, Located
from tuner.space import Branch

KINDS = ("uniform", "log_uniform", "integer", "log_integer", "choice")


class DomainSpec(Config):
    """A domain as written: exactly one of its kinds, `step` for the even ranges, `when` it holds."""

    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    integer: tuple[int, int] | None = None
    log_integer: tuple[int, int] | None = None
    choice: tuple[Any, ...] | None = None
    step: float | None = None
    when: dict[str, Any] = Field(default_factory=dict)

    @field_validator("choice")
    @classmethod
    def _scalars(cls, options: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if options is None else tuple(_scalar(option) for option in options)

    @field_validator("when")
    @classmethod
    def _tuples(cls, when: dict[str, Any]) -> dict[str, tuple[Scalar, ...]]:
        values = {leaf: value if isinstance(value, list) else [value] for leaf, value in when.items()}
        return {leaf: tuple(_scalar(value) for value in options) for leaf, options in values.items()}

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}; given: {', '.join(given) or 'none'}")
        if self.choice is not None and self.step is not None:
            raise ValueError("step belongs to uniform and integer; a choice lists its values")
        return self

    @property
    def kind(self) -> str:
        """The key that gives the range or the options."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def domain(self) -> Domain:
        """The domain this describes.

        Raises:
            ConfigError: the range or the options break a rule of the domain.
        """
        if self.choice is not None:
            return Choice(self.choice)
        whole = self.integer or self.log_integer
        if whole is not None:
            step = 1 if self.step is None else self.step
            if step != int(step):
                raise ConfigError(f"step {step} of a range of whole numbers must be whole")
            return Integer(*whole, log=self.log_integer is not None, step=int(step))
        low, high = self.uniform or self.log_uniform or (0.0, 0.0)
        return Real(low, high, log=self.log_uniform is not None, step=self.step)


def branches_of(source: Located, leaf: str, given: Any) -> Iterator[tuple[KeyPath, Branch]]:
    """The branches written for a leaf, each with the key that gives its range.

    Raises:
        ConfigError: with file, line and key.
    """
    root: KeyPath = ("space", leaf)
    written = (
        [((*root, index), item) for index, item in enumerate(given)] if isinstance(given, list) else [(root, given)]
    )
    if not written:
        raise ConfigError(f"{source.where(root)}: the list is empty; give a domain or drop the key")
    for key, item in written:
        if not isinstance(item, dict):
            raise ConfigError(f"{source.where(key)}: needs a domain such as {{uniform: [0, 1]}}, got {item!r}")
        spec = _parse(source, key, item)
        try:
            domain = spec.domain()
        except ConfigError as error:
            raise ConfigError(f"{source.where((*key, spec.kind))}: {error}") from None
        yield (*key, spec.kind), Branch(leaf, domain, spec.when)


def _parse(source: Located, key: KeyPath, item: dict[str, Any]) -> DomainSpec:
    try:
        return DomainSpec.model_validate(item)
    except ValidationError as error:
        found = problems(DomainSpec, error)
        raise ConfigError("\n".join(f"{source.where((*key, *p.path))}: {p.rule}" for p in found)) from None


def _scalar(value: Any) -> Scalar:
    if isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{value!r} must be text, a number, true or false")
