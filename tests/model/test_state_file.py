"""A state comes back to the bit, or not at all."""

import json
import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data.errors import DatasetError
from model.sealed_file import DTYPES, Kind, write_sealed
from model.training.state_file import load_state, save_state

WEIRD = {
    "numbers": [0, -1, 2**200, True, False, None, 0.1 + 0.2, 5e-324, -0.0, math.inf, -math.inf, math.nan],
    "text": ["", "dög", "a.b", "\ud800", '"]\x00'],
    "tensor": {"tensor": "x", "pairs": [], 3: {"pairs": {}}, -1: [[], {}, [[]]]},
    3: "as a number",
    "3": "as text",
}


def same(found: Any, expected: Any) -> bool:
    """Whether two trees are equal to the bit, with their types and the order of their keys."""
    if isinstance(expected, torch.Tensor):
        bits = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (found, expected)]
        return found.dtype == expected.dtype and found.shape == expected.shape and torch.equal(*bits)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and repr(found) == repr(expected)


def through(tree: dict[Any, Any], folder: Path) -> dict[Any, Any]:
    save_state(tree, folder / "state.safetensors")
    return load_state(folder / "state.safetensors")


def tensor_of(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    """Any bits at all, so also numbers that are none; of booleans there are only two."""
    generator = torch.Generator().manual_seed(seed)
    count = math.prod(shape) * dtype.itemsize
    values = torch.randint(0, 2 if dtype is torch.bool else 256, (count,), dtype=torch.uint8, generator=generator)
    return values.view(dtype).reshape(shape)


tensors = st.builds(
    tensor_of, st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 2**32)
)
keys = st.text(max_size=5) | st.integers()
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | tensors,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("states")


@given(st.dictionaries(keys, trees, max_size=4))
@example(WEIRD)
@settings(max_examples=80, deadline=None)
def test_a_state_comes_back_to_the_bit(folder: Path, tree: dict[Any, Any]) -> None:
    assert same(through(tree, folder), tree)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_every_type_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    tree = {"flat": tensor_of(dtype, [37], 1), "single": tensor_of(dtype, [], 2), "none": tensor_of(dtype, [0, 3], 3)}
    assert same(through(tree, tmp_path), tree)


def test_views_come_back_as_what_they_show(tmp_path: Path) -> None:
    base = torch.arange(120.0).reshape(2, 3, 4, 5)
    tree = {
        "whole": base,
        "again": base,
        "part": base[:, 1, ::2],
        "turned": base.permute(3, 1, 0, 2),
        "channels last": base.contiguous(memory_format=torch.channels_last),
        "repeated": torch.tensor([1.5]).expand(4),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
        "learnt": torch.nn.Parameter(torch.tensor([2.5])),
    }
    expected = {name: torch.tensor(tensor.tolist()) for name, tensor in tree.items()}
    assert same(through(tree, tmp_path), expected)


def test_tensors_that_were_read_are_free_of_the_file_and_of_each_other(tmp_path: Path) -> None:
    shared = torch.zeros(3)
    found = through({"one": shared, "two": shared}, tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"")
    found["one"] += 1
    assert (found["one"].tolist(), found["two"].tolist()) == ([1, 1, 1], [0, 0, 0])


def test_tuples_come_back_as_lists_and_mappings_as_plain_ones(tmp_path: Path) -> None:
    found = through({"sizes": (1, (2, torch.Size([3]))), "more": OrderedDict(b=1, a=2)}, tmp_path)
    assert json.dumps(found) == '{"sizes": [1, [2, [3]]], "more": {"b": 1, "a": 2}}'


def test_an_optimizer_goes_on_from_its_state_as_if_nothing_had_been(tmp_path: Path) -> None:
    def made() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        net = torch.nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.fill_(0.5)
        groups = [{"params": [net.weight], "lr": 0.1}, {"params": [net.bias], "weight_decay": 0.0}]
        return net, torch.optim.AdamW(groups, lr=0.3, betas=(0.8, 0.9))

    def step(net: torch.nn.Linear, optimizer: torch.optim.Optimizer, number: int) -> None:
        optimizer.zero_grad()
        net(torch.arange(3.0) + number).square().sum().backward()
        optimizer.step()

    net, optimizer = made()
    step(net, optimizer, 1)
    found = through({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path)
    again, resumed = made()
    again.load_state_dict(found["net"])
    resumed.load_state_dict(found["optimizer"])
    for number in (2, 3):
        step(net, optimizer, number)
        step(again, resumed, number)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"a": [1, {"b": object()}]}, r"state\['a'\]\[1\]\['b'\]: a object cannot be kept"),
        ({"a": {1, 2}}, r"state\['a'\]: a set cannot be kept"),
        ({"a": b"bytes"}, r"state\['a'\]: a bytes cannot be kept"),
        ({"a": {(1, 2): 3}}, r"state\['a'\]: the key \(1, 2\) is a tuple"),
        ({"a": {0.5: 3}}, r"state\['a'\]: the key 0.5 is a float"),
        (
            {"a": [torch.ones(2).to_sparse()]},
            r"state\['a'\]\[0\]: a tensor of torch\.float32, torch\.sparse_coo cannot",
        ),
        ({"a": torch.ones(1, dtype=torch.complex128)}, r"state\['a'\]: a tensor of torch\.complex128"),
    ],
)
def test_what_cannot_be_kept_is_named_and_nothing_is_written(tmp_path: Path, tree: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        save_state(tree, tmp_path / "state.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_every_bit_that_flips_is_found(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    tree: dict[Any, Any] = {"epoch": 7, "x": torch.tensor([1.5, 2.5]), 5: [torch.tensor(True)]}
    save_state(tree, path)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"state\.safetensors: .*damaged.*remove it and begin anew"):
            load_state(path)


def test_a_state_that_is_cut_short_or_runs_on_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state({"x": torch.arange(5)}, path)
    whole = path.read_bytes()
    for content in [*(whole[:length] for length in range(len(whole))), whole + b"\0"]:
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"state\.safetensors: .*damaged"):
            load_state(path)


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "of another program": lambda path: save_file({"x": torch.ones(1)}, path),
    "a checkpoint": lambda path: write_sealed({}, {"epoch": "1"}, path, Kind("checkpoint", "4", "")),
    "pickled": lambda path: torch.save({"x": torch.ones(1)}, path),
    "text": lambda path: path.write_text("epoch: 7"),
}


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN)
def test_another_kind_of_file_is_no_state(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    write(tmp_path / "state.safetensors")
    with pytest.raises(DatasetError, match=r"state\.safetensors: (not a readable state|format .* is no state)"):
        load_state(tmp_path / "state.safetensors")


def test_a_state_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"state\.safetensors: no such state"):
        load_state(tmp_path / "state.safetensors")


def test_other_programs_read_a_state(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    numbers = torch.tensor([0.1, 0.2], dtype=torch.float64)
    save_state({"epoch": 7, "values": [torch.arange(3, dtype=torch.uint8), {"b": numbers}]}, path)
    found = load_file(path)
    assert found.keys() == {"state['values'][0]", "state['values'][1]['b']"}
    assert same(found["state['values'][0]"], torch.tensor([0, 1, 2], dtype=torch.uint8))
    assert same(found["state['values'][1]['b']"], numbers)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["tree"])["pairs"][0] == ["epoch", 7]
