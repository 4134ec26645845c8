"""YAML whose every key knows its line, so that an error can say where."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.errors import ConfigError

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Reads 3e-3 as a number and `off` as a word, as YAML 1.2 does and everyone who writes a setting expects."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != _BOOL]
    for first, rules in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(true|false|True|False|TRUE|FALSE)$"), list("tTfF"))


@dataclass(frozen=True)
class Located:
    """A YAML file's mapping and the line of each key."""

    path: Path
    tree: dict[str, Any]
    lines: dict[KeyPath, int]

    def where(self, key: KeyPath) -> str:
        """`file:line: key`."""
        return f"{self.place(key)}: {_dotted(key)}" if key else self.place(key)

    def place(self, key: KeyPath) -> str:
        """`file:line`, by the innermost part of the key that stands in the file."""
        known = next(key[:end] for end in range(len(key), -1, -1) if key[:end] in self.lines)
        return f"{self.path}:{self.lines[known]}"


def read_located(path: Path) -> Located:
    """Read a YAML mapping.

    Raises:
        ConfigError: the file is missing or unreadable, is no YAML, is no mapping, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: must be a mapping of keys, as in `name: quickstart`")
        lines = {(): 1, **dict(_lines(path, node, ()))}
        return Located(path, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: no valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no valid YAML: {error}") from None
    finally:
        loader.dispose()


def read_value(text: str) -> Any:
    """One value as YAML writes it, with the numbers of this module."""
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def _lines(path: Path, node: yaml.Node, prefix: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in seen:
                raise ConfigError(f"{path}:{line}: {_dotted((*prefix, key))}: stands here a second time; keep one")
            seen.add(key)
            yield (*prefix, key), line
            yield from _lines(path, value, (*prefix, key))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*prefix, index), value.start_mark.line + 1
            yield from _lines(path, value, (*prefix, index))


def _dotted(key: KeyPath) -> str:
    text = ""
    for step in key:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")
