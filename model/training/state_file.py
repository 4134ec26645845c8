"""What a training resumes from, as one file: mappings, lists, numbers, text and tensors. Nothing is unpickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data.errors import DatasetError
from model.sealed_file import Kind, read_sealed, write_sealed

STATE_KIND = Kind(
    "state",
    format="state-1",
    remedy="remove it and begin anew, from a checkpoint beside it (--init-from) or from nothing",
)
TREE = "tree"  # of the metadata: the state as JSON, whose objects are mappings or name a tensor
PAIRS = "pairs"  # of a mapping; JSON has no whole numbers as keys, which optimizers use
TENSOR = "tensor"


def save_state(tree: Mapping[str, Any], path: Path) -> None:
    """Write a state; a reader sees the old or the new one, whole.

    What comes back has the same values, to the bit, as `dict`, `list`, `str`, `int`, `float`, `bool`, `None` and
    contiguous tensors on the CPU; keys are text or whole numbers.

    Raises:
        TypeError: something in it is none of these; it is named.
        OSError: the file cannot be written; the one before is still there.
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_structure(tree, "state", tensors))
    write_sealed(tensors, {TREE: structure}, path, STATE_KIND)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state back.

    Raises:
        DatasetError: the file is missing, damaged, or no state.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such state; a training writes it after each epoch")
    tensors, metadata = read_sealed(path, STATE_KIND)
    tree: dict[str, Any] = _value(json.loads(metadata[TREE]), tensors)
    return tree


def _structure(value: Any, where: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The value as JSON; its tensors are collected by where they stand."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, torch.Tensor):
        tensors[where] = value
        return {TENSOR: where}
    if isinstance(value, list | tuple):
        return [_structure(item, f"{where}[{index}]", tensors) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        pairs = value.items()
        return {PAIRS: [[_key(key, where), _structure(item, f"{where}[{key!r}]", tensors)] for key, item in pairs]}
    raise TypeError(f"{where}: a {type(value).__name__} cannot be kept; give numbers, text, lists, mappings, tensors")


def _key(key: Any, where: str) -> str | int:
    if isinstance(key, str | int):
        return key
    raise TypeError(f"{where}: the key {key!r} is a {type(key).__name__}; keys are text or whole numbers")


def _value(structure: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    match structure:
        case {"tensor": str(name)}:
            return tensors[name]
        case {"pairs": pairs}:
            return {key: _value(item, tensors) for key, item in pairs}
        case list(items):
            return [_value(item, tensors) for item in items]
        case scalar:
            return scalar
