"""Configuration: frozen, validated trees whose unknown keys are errors that name the nearest key."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from data.errors import ConfigError


class Config(BaseModel):
    """A branch of the configuration. Frozen; every field is a leaf or another branch."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate a nested mapping.

        Raises:
            ConfigError: one line for each rule broken; `where` (a file, an option) opens each.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError("\n".join(problem.sentence(where) for problem in problems(cls, error))) from None

    def with_leaves(self, leaves: Mapping[str, Any], where: str) -> Self:
        """A copy with the leaves at these dotted paths replaced, validated again.

        Raises:
            ConfigError: as `parse`; a path that does not exist is named with the nearest one.
        """
        tree = self.model_dump(mode="json")
        for path, value in leaves.items():
            *branches, leaf = path.split(".")
            node = tree
            for branch in branches:
                child = node.get(branch)
                if not isinstance(child, dict):
                    raise ConfigError(f"{where}: {unknown_key(path, leaf_paths(type(self)))}")
                node = child
            if leaf not in node or isinstance(node[leaf], dict):
                raise ConfigError(f"{where}: {unknown_key(path, leaf_paths(type(self)))}")
            node[leaf] = value
        return self.parse(tree, where)

    def leaves(self) -> dict[str, Any]:
        """Every leaf by its dotted path, as JSON values."""
        return dict(_walk(self.model_dump(mode="json"), ""))


def _walk(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Problem:
    """One broken rule: where in the tree, and what is wrong with it."""

    def __init__(self, path: tuple[str | int, ...], rule: str) -> None:
        self.path = path
        self.rule = rule

    def sentence(self, where: str) -> str:
        """The problem as one line."""
        path = ".".join(str(step) for step in self.path)
        return f"{where}: {path}: {self.rule}" if path else f"{where}: {self.rule}"


def problems(cls: type[BaseModel], error: ValidationError) -> list[Problem]:
    """Translate pydantic's errors; an unknown key gets the nearest known one."""
    found = []
    for item in error.errors(include_url=False):
        path = item["loc"]
        if item["type"] == "extra_forbidden":
            rule = unknown_key(str(path[-1]), _keys_at(cls, path[:-1]))
        elif item["type"] == "missing":
            rule = "is missing"
        elif item["type"] == "value_error":
            rule = str(item["ctx"]["error"])
        else:
            rule = f"{item['msg']}, got {item['input']!r}"
        found.append(Problem(path, rule))
    return found


def unknown_key(key: str, known: list[str]) -> str:
    """The sentence for a key that does not exist: the nearest one, or all there are."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
    return f"unknown key '{key}'; {remedy}"


def leaf_paths(cls: type[BaseModel], prefix: str = "") -> list[str]:
    """The dotted path of every leaf below this branch."""
    paths = []
    for name, field in cls.model_fields.items():
        branch = field.annotation
        if isinstance(branch, type) and issubclass(branch, BaseModel):
            paths += leaf_paths(branch, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths


def _keys_at(cls: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    for step in path:
        if isinstance(step, int):  # a place in a list, whose items' type is already at hand
            continue
        field = cls.model_fields.get(step)
        branch = _branch(field.annotation) if field is not None else None
        if branch is None:
            return []
        cls = branch
    return list(cls.model_fields)


def _branch(annotation: Any) -> type[BaseModel] | None:
    """The configuration class in an annotation: itself, or that of a list's items."""
    candidates = (annotation, *get_args(annotation))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
