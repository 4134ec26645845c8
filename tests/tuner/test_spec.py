"""Search specifications: what they give, and errors with file, line, key and nearest key."""

import dataclasses
from pathlib import Path

import pytest

from data.errors import ConfigError
from model.training.config import Phase
from model.trial_config import TrialConfig
from tuner.domains import Real
from tuner.leaves import load_config
from tuner.located import read_located, read_value
from tuner.samplers.names import SamplerName
from tuner.spec.objective import Constraint
from tuner.spec.search_spec import load_spec
from tuner.spec.sections import Resources

SPEC = """\
name: tiny
base:
  loss: {cls: 2.0}
  optimizer.momentum: 0.8
space:
  loss.box: {log_uniform: [2, 15]}
  optimizer.name: {choice: [sgd, adamw]}
  optimizer.lr:
    - {when: {optimizer.name: sgd}, log_uniform: [3e-3, 3e-2]}
    - {when: {optimizer.name: adamw}, log_uniform: [1e-4, 2e-3]}
objective: {windows: 10}
budget: {trials: 3, epochs: 5}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


def test_a_spec_gives_default_space_and_budget(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, SPEC))
    expected = {"loss.cls": 2.0, "optimizer.momentum": 0.8, "training.epochs": 5}
    assert spec.default == TrialConfig().with_leaves(expected, "test")
    assert spec.space.leaves == ["loss.box", "optimizer.name", "optimizer.lr"]
    assert (spec.file.sampler.name, spec.file.budget.trials) == (SamplerName.AUTO, 3)


def test_a_number_without_a_point_before_its_exponent_is_a_number(tmp_path: Path) -> None:
    # YAML 1.1 takes 3e-3 for text.
    spec = load_spec(write(tmp_path, SPEC))
    domain = next(branch.domain for branch in spec.space.branches if branch.when == {"optimizer.name": ("sgd",)})
    assert domain == Real(0.003, 0.03, log=True)
    path = write(tmp_path, "a: [3e-3, 1E5, -2e+1, 1.5e3, 3e, e3, 12]")
    assert read_located(path).tree == {"a": [0.003, 1e5, -20.0, 1500.0, "3e", "e3", 12]}


def test_a_spec_written_back_is_the_same_spec(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, SPEC))
    spec.write(tmp_path / "again.yaml")
    again = load_spec(tmp_path / "again.yaml")
    assert (again.file, again.default, again.space.branches) == (spec.file, spec.default, spec.space.branches)


def test_a_spec_without_asha_and_tpe_is_written_without_what_only_they_read(tmp_path: Path) -> None:
    text = SPEC.replace("{windows: 10}", "{windows: 10}\nscheduler: {name: none}\nsampler: {name: random, seed: 7}")
    spec = load_spec(write(tmp_path, text), trials=5)
    spec.write(tmp_path / "back.yaml")
    back = load_spec(tmp_path / "back.yaml")
    assert (back.file, back.default) == (spec.file, spec.default)


def test_phases_are_given_as_a_list_and_are_a_fidelity(tmp_path: Path) -> None:
    phases = (
        "training:\n    phases:\n      - {epochs: 1, scale: 0.5, recordings: 0.25}\n      - {epochs: 2, time_steps: 2}"
    )
    text = SPEC.replace("optimizer.momentum: 0.8", phases).replace("{windows: 10}", "{}\nscheduler: {fidelity: phases}")
    spec = load_spec(write(tmp_path, text))
    expected = (Phase(epochs=1, scale=0.5, recordings=0.25), Phase(epochs=2, time_steps=2))
    assert (spec.default.training.phases, spec.default.training.epochs) == (expected, 5)
    spec.write(tmp_path / "again.yaml")
    assert load_spec(tmp_path / "again.yaml").default == spec.default


@pytest.mark.parametrize(
    ("given", "processes", "cpus"),
    [
        ({}, 1, 1),
        ({"gpus": 0.5, "cpus": 2}, 1, 2),
        ({"gpus": 1}, 1, 1),
        ({"gpus": 4, "cpus": 2}, 4, 8),
        ({"gpus": 4, "processes": 2}, 2, 2),
        ({"gpus": 2, "processes": 1}, 1, 1),
        ({"processes": 3, "cpus": 2}, 3, 6),
    ],
)
def test_a_trial_has_a_process_for_each_whole_gpu_unless_told_otherwise(
    given: dict[str, float], processes: int, cpus: int
) -> None:
    resources = Resources.parse(given, "test")
    assert (resources.ranks, resources.all_cpus) == (processes, cpus)


def test_trials_can_be_overridden_and_must_be_positive(tmp_path: Path) -> None:
    path = write(tmp_path, SPEC)
    assert load_spec(path, trials=7).file.budget.trials == 7
    with pytest.raises(ConfigError, match=r"--trials: trials: .*greater than or equal to 1, got 0"):
        load_spec(path, trials=0)


@dataclasses.dataclass(frozen=True)
class Mistake:
    old: str
    new: str
    line: int
    says: str


MISTAKES = [
    Mistake("loss.box:", "loss.bxo:", 6, "space.loss.bxo: unknown key 'loss.bxo'; did you mean 'loss.box'?"),
    Mistake("loss.box:", "loss:", 6, "space.loss: unknown key 'loss'"),
    Mistake("[2, 15]", "[15, 2]", 6, "space.loss.box.log_uniform: [15.0, 2.0] is reversed"),
    Mistake("[2, 15]", "[2, 2]", 6, "space.loss.box.log_uniform: [2.0, 2.0] is empty"),
    Mistake("[2, 15]", "[0, 15]", 6, "space.loss.box.log_uniform: [0.0, 15.0] has no logarithm"),
    Mistake(
        "{log_uniform: [2, 15]}", "{uniform: [-2, 15]}", 6, "space.loss.box.uniform: loss.box: Input should be great"
    ),
    Mistake(
        "log_uniform: [2, 15]", "log_unifrom: [2, 15]", 6, "unknown key 'log_unifrom'; did you mean 'log_uniform'?"
    ),
    Mistake("log_uniform: [2, 15]", "uniform: [2, 3], choice: [2, 3]", 6, "exactly one of"),
    Mistake("{log_uniform: [2, 15]}", "", 6, "space.loss.box: needs a domain such as {uniform: [0, 1]}, got nothing"),
    Mistake("{log_uniform: [2, 15]}", "-7", 6, "space.loss.box.fixed: loss.box: Input should be greater"),
    Mistake("[sgd, adamw]}", "[sgd]}", 7, "a choice needs at least two options; a single value is fixed"),
    Mistake(
        "loss.box: {log_uniform: [2, 15]}",
        "model.neuron: {choice: [{tau_ms: 5}, {tau_ms: {uniform: [2, 9]}}]}",
        6,
        "its options are told apart by one key with a different plain value in each",
    ),
    Mistake("loss.box: {log_uniform: [2, 15]}", "loss: {choice: [{box: 3}, 7]}", 6, "a nested choice has mappings for"),
    Mistake("{windows: 10}", "{metric: mop}", 11, "objective.metric: no trial reports 'mop'; did you mean 'map'?"),
    Mistake("{windows: 10}", "{also: [{metric: map}]}", 11, "a metric is given twice in map, map; keep one"),
    Mistake("{windows: 10}", "{}\nconstraints: [latency < 20]", 12, "must be METRIC <= NUMBER or METRIC >= NUMBER"),
    Mistake("{windows: 10}", "{}\nconstraints: [latency_m <= 20]", 12, "did you mean 'latency_ms'?"),
    Mistake("{windows: 10}", "{}\nconstraints: [latency_ms <= 1e999]", 12, "the bound must be finite"),
    Mistake("{windows: 10}", "{}\nstart_with: [{loss.bxo: 3}]", 12, "did you mean 'loss.box'?"),
    Mistake("{windows: 10}", "{}\nstart_with: [{loss: {box: -3}}]", 12, "loss.box: Input should be greater"),
    Mistake("{windows: 10}", "{}\nstart_with: [{training.epochs: 3}]", 12, "are budget.epochs; set it there"),
    Mistake(
        "{windows: 10}",
        "{}\nscheduler: {name: none}\nstart_with: [{training.epochs: 6}]",
        13,
        "start_with[0].training.epochs: 6 must not exceed budget.epochs=5",
    ),
    Mistake("{windows: 10}", "{}\nnames: [one, two]", 1, "names: 2 are given, but only base and 0 of start_with"),
    Mistake("trials: 3", "trials: 3, money: 5", 12, "money needs prices"),
    Mistake("trials: 3", "trials: 3, prices: {default: 1}", 12, "prices are only read with money"),
    Mistake("trials: 3", "trials: 3, money: 5, prices: {default: -1}", 12, "prices.default=-1.0 must not be negative"),
    Mistake("[sgd, adamw]", "[sgd, adamw, adamv]", 7, "space.optimizer.name.choice: optimizer.name: Input should be"),
    Mistake("{optimizer.name: sgd}", "{optimizer.nam: sgd}", 9, "when: 'optimizer.nam' is not in the space"),
    Mistake("{optimizer.name: sgd}", "{optimizer.name: adam}", 9, "when: optimizer.name is never 'adam'; possible"),
    Mistake("{optimizer.name: sgd}", "{optimizer.name: adamw}", 10, "overlaps with optimizer.lr[optimizer.name=adamw]"),
    Mistake("[1e-4, 2e-3]", "[1e-4, 2]", 10, "space.optimizer.lr[1].log_uniform: optimizer.lr: Input should be less"),
    Mistake("cls: 2.0", "clz: 2.0", 3, "base.loss.clz: unknown key 'loss.clz'; did you mean 'loss.cls'?"),
    Mistake("cls: 2.0", "cls: -2.0", 3, "loss.cls: Input should be greater"),
    Mistake("optimizer.momentum: 0.8", "loss.cls: 1.0", 4, "base.loss.cls: loss.cls is already given"),
    Mistake(
        "optimizer.momentum: 0.8", "training.epochs: 3", 4, "base.training.epochs: the epochs of a trial are budget.ep"
    ),
    Mistake(
        "loss.box: {log_uniform: [2, 15]}", "training.epochs: {integer: [2, 15]}", 6, "budget.epochs; set it there"
    ),
    Mistake(
        "{windows: 10}", "{windows: 0}", 11, "objective.windows: Input should be greater than or equal to 1, got 0"
    ),
    Mistake("{windows: 10}", "{split: test}", 11, "objective.split: Input should be"),
    Mistake("{windows: 10}", "{}\nscheduler: {grace: 6}", 12, "grace=6 must not exceed budget.epochs=5"),
    Mistake("{windows: 10}", "{}\nscheduler: {name: none, grace: 2}", 12, "grace is not read by the scheduler 'none'"),
    Mistake(
        "{windows: 10}",
        "{}\nscheduler: {name: none, reduction_factor: 3}",
        12,
        "reduction_factor is not read by the scheduler 'none'; remove it",
    ),
    Mistake(
        "{windows: 10}",
        "{}\nsampler: {name: random, startup_trials: 4}",
        12,
        "startup_trials is not read by the sampler 'random'; remove it",
    ),
    Mistake("{windows: 10}", "{}\nscheduler: {name: none, fidelity: epochs}", 12, "fidelity is not read by the sched"),
    Mistake("{windows: 10}", "{}\nscheduler: {fidelity: phase}", 12, "scheduler.fidelity: Input should be 'epochs' or"),
    Mistake(
        "{windows: 10}", "{}\nscheduler: {fidelity: phases}", 12, "rungs are the ends of training.phases, of which"
    ),
    Mistake("{windows: 10}", "{}\nscheduler: {fidelity: phases, grace: 2}", 12, "grace is not read with fidelity 'pha"),
    Mistake("optimizer.momentum: 0.8", "training.phases: [{epochs: 5}]", 4, "phases take 5 of epochs=5, and none is"),
    Mistake(
        "optimizer.momentum: 0.8", "training: {phases: [{epochs: 1}, {epochs: 13}]}", 4, "phases take 14 of epochs=5"
    ),
    Mistake(
        "optimizer.momentum: 0.8",
        "training.phases: [{epochs: 1}, {epochs: 1, scal: 0.5}]",
        4,
        "training.phases.1.scal: unknown key 'scal'; did you mean 'scale'?",
    ),
    Mistake(
        "loss.box: {log_uniform: [2, 15]}",
        "training.phases: {choice: [[{epochs: 1}]]}",
        6,
        "must be text, a number, true or false",
    ),
    Mistake("{windows: 10}", "{}\nresources: {gpus: 2.5}", 12, "gpus=2.5 must be a share of one, or a whole number"),
    Mistake("{windows: 10}", "{}\nresources: {gpus: 4, processes: 3}", 12, "processes=3 must divide gpus=4"),
    Mistake("{windows: 10}", "{}\nresources: {gpus: 0.5, processes: 2}", 12, "processes=2 must divide gpus=0.5"),
    Mistake("trials: 3", "trails: 3", 12, "budget.trails: unknown key 'trails'; did you mean 'trials'?"),
    Mistake("budget:", "budgte:", 12, "budgte: unknown key 'budgte'; did you mean 'budget'?"),
    Mistake("[sgd, adamw]", "[sgd, adamw", 7, "no valid YAML"),
    Mistake("name: tiny", "name: tiny\nname: big", 2, "name: stands here a second time"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.says[:40])
def test_a_mistake_is_named_with_its_line_and_key(tmp_path: Path, mistake: Mistake) -> None:
    assert mistake.old in SPEC
    path = write(tmp_path, SPEC.replace(mistake.old, mistake.new, 1))
    with pytest.raises(ConfigError) as caught:
        load_spec(path)
    lines = [line for line in str(caught.value).splitlines() if line.startswith(f"{path}:{mistake.line}: ")]
    assert any(mistake.says in line for line in lines), str(caught.value)


def test_every_broken_rule_is_told_not_only_the_first(tmp_path: Path) -> None:
    text = SPEC.replace("trials: 3", "trials: 0").replace("{windows: 10}", "{windows: 0}")
    with pytest.raises(ConfigError) as caught:
        load_spec(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 2


def test_a_configuration_comes_from_a_file_and_then_from_options(tmp_path: Path) -> None:
    path = write(tmp_path, "loss: {box: 3}\noptimizer.lr: 1e-3\n")
    config = load_config(path, ["loss.box=4", "optimizer.name=sgd", "optimizer.clip_norm=1e1"])
    expected = {"loss.box": 4, "optimizer.lr": 0.001, "optimizer.name": "sgd", "optimizer.clip_norm": 10}
    assert config == TrialConfig().with_leaves(expected, "test")


def test_an_option_that_is_no_assignment_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--set loss.box: must be KEY=VALUE"):
        load_config(None, ["loss.box"])
    with pytest.raises(ConfigError, match=r"did you mean 'loss.box'"):
        load_config(None, ["loss.bok=3"])


@pytest.mark.parametrize(
    ("text", "value"), [("off", "off"), ("no", "no"), ("true", True), ("False", False), ("3e-3", 0.003)]
)
def test_a_value_is_what_yaml_1_2_says(text: str, value: object) -> None:
    assert read_value(text) == value


NESTED = """\
name: nested
space:
  optimizer:
    choice:
      - {name: sgd, lr: {log_uniform: [3e-3, 3e-2]}, momentum: 0.9}
      - {name: adamw, lr: {log_uniform: [1e-4, 2e-3]}}
  loss.cls: 2
  loss.box: {uniform: [2, 3], step: 0.25}
budget: {trials: 3, epochs: 5}
"""


def test_a_nested_choice_is_a_choice_of_its_name_and_what_holds_under_each(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, NESTED))
    names = sorted(branch.name for branch in spec.space.branches)
    assert names == [
        "loss.box",
        "loss.cls",
        "optimizer.lr[optimizer.name=adamw]",
        "optimizer.lr[optimizer.name=sgd]",
        "optimizer.momentum[optimizer.name=sgd]",
        "optimizer.name",
    ]
    sgd = {"optimizer.name": "sgd", "optimizer.lr": 0.01, "optimizer.momentum": 0.9, "loss.cls": 2, "loss.box": 2.25}
    assert spec.space.holds({**spec.default.leaves(), **sgd})
    for leaf, other in (("optimizer.momentum", 0.8), ("loss.cls", 3), ("loss.box", 2.3), ("optimizer.lr", 1e-3)):
        assert not spec.space.holds({**spec.default.leaves(), **sgd, leaf: other})
    adamw = {**sgd, "optimizer.name": "adamw", "optimizer.lr": 1e-3, "optimizer.momentum": 0.8}
    assert spec.space.holds({**spec.default.leaves(), **adamw})  # its momentum is not of the space


def test_start_with_is_written_nested_or_dotted_and_read_as_the_configuration_reads_it(tmp_path: Path) -> None:
    text = SPEC.replace("{windows: 10}", "{windows: 10}\nstart_with: [{loss: {box: 3}}, {optimizer.name: adamw}]")
    assert load_spec(write(tmp_path, text)).start_with == ({"loss.box": 3.0}, {"optimizer.name": "adamw"})


def test_max_concurrent_auto_is_as_many_as_fit(tmp_path: Path) -> None:
    text = SPEC.replace("{windows: 10}", "{windows: 10}\nresources: {max_concurrent: auto}")
    spec = load_spec(write(tmp_path, text))
    assert spec.file.resources.max_concurrent is None
    spec.write(tmp_path / "again.yaml")
    assert load_spec(tmp_path / "again.yaml").file == spec.file


@pytest.mark.parametrize(
    ("text", "metrics", "violation"),
    [
        ("latency_ms <= 20", {"latency_ms": 25.0}, 0.25),
        ("latency_ms <= 20", {"latency_ms": 20.0}, 0.0),
        ("map >= 0.5", {"map": 0.4}, 0.2),
        ("parameters <= 3e6", {}, 0.0),  # not known yet
        ("loss <= 0", {"loss": 0.5}, 0.5),  # a bound of 0 has no shares
    ],
)
def test_a_constraint_is_broken_by_a_share_of_its_bound(text: str, metrics: dict[str, float], violation: float) -> None:
    assert Constraint.parse(text).violation(metrics) == pytest.approx(violation)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("loss.box: {log", "training.with_val: {choice: [true, false]}\n  loss.box: {log"), "spiketune promote"),
        (("  loss: {cls: 2.0}", "  training.with_val: true"), "set objective.split=train"),
    ],
)
def test_a_search_cannot_be_measured_on_what_its_trials_learn_from(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_spec(write(tmp_path, SPEC.replace(*change)))


def test_without_a_scheduler_configurations_may_train_shorter_than_the_budget(tmp_path: Path) -> None:
    text = SPEC.replace("optimizer.momentum: 0.8", "training.epochs: 2")
    spec = load_spec(write(tmp_path, f"{text}scheduler: {{name: none}}\nstart_with: [{{training: {{epochs: 4}}}}]\n"))
    assert spec.default.training.epochs == 2
    assert [spec.configuration(leaves).training.epochs for leaves in spec.start_with] == [4]
