"""The `space` of a search specification: one domain for each leaf, or several with conditions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from data.config import Config, problems
from data.errors import ConfigError
from tuner.domains import Choice, Domain, Integer, Real, Scalar
from tuner.located import KeyPath, Located
from tuner.space import Branch

KINDS = ("uniform", "log_uniform", "integer", "log_integer", "choice", "fixed")


class DomainSpec(Config):
    """A domain as written: exactly one of its kinds, `step` for the even ranges, `when` it holds."""

    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    integer: tuple[int, int] | None = None
    log_integer: tuple[int, int] | None = None
    choice: tuple[Any, ...] | None = None
    fixed: Any = None  # one value, worth writing where it only holds under `when`
    step: float | None = None
    when: dict[str, Any] = Field(default_factory=dict)

    @field_validator("choice")
    @classmethod
    def _scalars(cls, options: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if options is None else tuple(_scalar(option) for option in options)

    @field_validator("fixed")
    @classmethod
    def _scalar(cls, value: Any) -> Any:
        return None if value is None else _scalar(value)

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
        if self.step is not None and (self.choice is not None or self.fixed is not None):
            raise ValueError("step belongs to uniform and integer; a choice lists its values")
        if self.choice is not None and len(self.choice) < 2:
            raise ValueError("a choice needs at least two options; a single value is fixed")
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
        if self.fixed is not None:
            return Choice((self.fixed,))
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
        if item is None:
            raise ConfigError(f"{source.where(key)}: needs a domain such as {{uniform: [0, 1]}}, got nothing")
        spec = _parse(source, key, item if isinstance(item, dict) else {"fixed": item})
        try:
            domain = spec.domain()
        except ConfigError as error:
            raise ConfigError(f"{source.where((*key, spec.kind))}: {error}") from None
        yield (*key, spec.kind), Branch(leaf, domain, spec.when)


def unnested(source: Located, space: Mapping[str, Any]) -> dict[str, Any]:
    """The space with each nested choice taken apart, leaf by leaf.

    A nested choice lists alternatives for a whole branch: `optimizer: {choice: [{name: sgd, lr: ...}, {name: adamw}]}`.
    One leaf has a different plain value in each of them; it becomes a choice, and the rest holds under its values.

    Raises:
        ConfigError: with file, line and key.
    """
    flat: dict[str, Any] = {}
    for key, given in space.items():
        options = given.get("choice") if isinstance(given, dict) else None
        nested = isinstance(options, list) and any(isinstance(option, dict) for option in options)
        for leaf, domains in (_alternatives(source, key, given) if nested else {key: given}).items():
            if leaf in flat:
                raise ConfigError(f"{source.where(('space', key))}: {leaf} is already given; keep one")
            flat[leaf] = domains
    return flat


def _alternatives(source: Located, root: str, given: Mapping[str, Any]) -> dict[str, Any]:
    where = source.where(("space", root))
    options = given["choice"]
    if set(given) - {"choice"} or not all(isinstance(option, dict) for option in options):
        raise ConfigError(f"{where}: a nested choice has mappings for options, and no other key; write it as such")
    selectors = [name for name in options[0] if _tells_apart(name, options)]
    if not selectors:
        raise ConfigError(
            f"{where}: its options are told apart by one key with a different plain value in each, as `name` is; add it"
        )
    selector = f"{root}.{selectors[0]}"
    flat: dict[str, Any] = {selector: {"choice": [option[selectors[0]] for option in options]}}
    for option in options:
        for name, item in option.items():
            if name != selectors[0]:
                domain = dict(item) if isinstance(item, dict) else {"fixed": item}
                domain["when"] = {**domain.get("when", {}), selector: option[selectors[0]]}
                flat.setdefault(f"{root}.{name}", []).append(domain)
    return flat


def _tells_apart(name: str, options: Sequence[Mapping[str, Any]]) -> bool:
    values = [option.get(name) for option in options]
    return all(isinstance(value, str | int | float) for value in values) and len(set(values)) == len(values)


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
