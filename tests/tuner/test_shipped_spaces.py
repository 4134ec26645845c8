"""The searches that come along: each loads, each of its samples is a configuration, each range has its reason."""

import re
from pathlib import Path

import pytest
import yaml

from data.errors import ConfigError
from tuner.samplers.native import RandomProposer
from tuner.spec.search_spec import load_spec

FOLDER = Path(__file__).parents[2] / "search_spaces"
SEARCHES = sorted(path for path in FOLDER.glob("*.yaml") if not path.stem.startswith("ablation_"))
EXPECTED = {"energy_pareto", "etram3", "etram8", "gen1", "multi_fidelity", "pedro", "quickstart"}


def leaves_without_a_reason(text: str) -> list[str]:
    """Keys below `space` with a comment neither on their own line nor on the one above."""
    lines = text.splitlines()
    root = yaml.compose(text)
    assert root is not None
    space = next(value for key, value in root.value if key.value == "space")
    return [
        key.value
        for key, _ in space.value
        if not has_reason(lines[key.start_mark.line - 1], lines[key.start_mark.line])
    ]


def has_reason(above: str, own: str) -> bool:
    reason = re.search(r"(?:^|\s)#\s*\w", own) or re.match(r"\s*#\s*\w", above)
    return reason is not None


def test_the_searches_that_are_promised_come_along() -> None:
    assert {path.stem for path in SEARCHES} == EXPECTED


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_a_thousand_random_samples_of_a_shipped_search_are_configurations(path: Path) -> None:
    spec = load_spec(path)
    assert spec.file.name == path.stem
    sampler = RandomProposer(spec.space, seed=0)
    seen: dict[str, set[object]] = {leaf: set() for leaf in spec.space.leaves}
    for number in range(1000):
        leaves = spec.space.leaves_of(sampler.propose(number, []).values)
        config = spec.configuration(leaves).leaves()
        assert {leaf: config[leaf] for leaf in leaves} == leaves
        for leaf, value in leaves.items():
            seen[leaf].add(value)
    assert all(len(values) > 1 for values in seen.values())


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_each_range_of_a_shipped_search_has_its_reason_beside_it(path: Path) -> None:
    assert leaves_without_a_reason(path.read_text()) == []


def test_a_range_without_a_reason_is_found() -> None:
    text = """\
space:
  # Half an order of magnitude to either side.
  loss.box: {log_uniform: [2, 15]}
  loss.cls: {uniform: [0, 1]}
  loss.dfl: {uniform: [0, 1]} # why
  loss.obj: {choice: ["#1", "a"]}

  optimizer.lr:
    # Inside of the domain, not beside the leaf.
    - {fixed: 1}
"""
    assert leaves_without_a_reason(text) == ["loss.cls", "loss.obj", "optimizer.lr"]


def test_a_sample_that_is_no_configuration_would_be_refused(tmp_path: Path) -> None:
    # Both ends of a range are tried when a file is loaded; what is wrong only between two leaves shows in the samples.
    path = tmp_path / "odd.yaml"
    path.write_text(
        "name: odd\nbudget: {trials: 2, epochs: 4}\nspace:\n"
        "  model.neuron.name: {choice: [ilif, relu]}\n  model.neuron.decay: {uniform: [0.1, 0.7]}\n"
    )
    spec = load_spec(path)
    with pytest.raises(ConfigError, match="does not read it"):
        spec.configuration({"model.neuron.name": "relu", "model.neuron.decay": 0.4})
