"""Samplers behind their protocol."""

import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from data.errors import ConfigError
from tuner.domains import Choice, Integer, Real
from tuner.samplers.auto import distrust
from tuner.samplers.build import build_sampler
from tuner.samplers.choose import final_choice, smoothed
from tuner.samplers.names import SamplerName
from tuner.samplers.observation import Observation, Proposal, Proposer, Stage, Values
from tuner.samplers.several import front, hypervolume, scalarised
from tuner.space import Branch, Space

MIXED = Space(
    [
        Branch("kind", Choice(("a", "b", "c"))),
        Branch("x", Real(0.0, 1.0)),
        Branch("n", Integer(1, 9)),
        Branch("extra", Real(1e-3, 1.0, log=True), {"kind": ("a", "b")}),
    ]
)
LINE = Space([Branch("x", Real(0.0, 1.0)), Branch("y", Real(0.0, 1.0))])
SMALL = Space([Branch("kind", Choice(("a", "b"))), Branch("n", Integer(1, 3), when={"kind": ("a",)})])
FREE = [name for name in SamplerName if name not in (SamplerName.GRID, SamplerName.CMA_ES)]
Curve = dict[int, tuple[float, ...]]


def build(name: SamplerName, space: Space, objectives: int = 1, seed: int = 0, startup: int = 5) -> Proposer:
    return build_sampler(
        name, space, seed=seed, epochs=4, trials=40, workers=2, objectives=objectives, startup_trials=startup
    )


def search(
    sampler: Proposer, trials: int, curve: Callable[[Proposal], Curve], history: Sequence[Observation] = ()
) -> list[Observation]:
    """One trial after the other, each to its end; proposals' memories travel as JSON."""
    seen = list(history)
    for number in range(len([trial for trial in seen if trial.source is None]), trials):
        proposal = sampler.propose(number, seen)
        memory = json.loads(json.dumps(proposal.memory))
        seen.append(Observation(number, proposal.values, curve(proposal), Stage.ENDED, memory=memory))
    return seen


def near_point_three(proposal: Proposal) -> Curve:
    loss = sum((float(proposal.values[name]) - 0.3) ** 2 for name in ("x", "y"))
    return {epoch: (1 - loss - 0.5 / epoch,) for epoch in range(1, 5)}


def check_valid(proposal: Proposal, space: Space) -> None:
    leaves: dict[str, object] = {}
    for branch in space.branches:
        assert (branch.name in proposal.values) == branch.active(leaves)
        if branch.name in proposal.values:
            leaves[branch.leaf] = proposal.values[branch.name]
            assert branch.domain.contains(proposal.values[branch.name])


@pytest.mark.parametrize("name", FREE)
def test_every_sampler_proposes_valid_values_whatever_happened(name: SamplerName) -> None:
    sampler = build(name, MIXED)
    history: list[Observation] = []
    for number in range(24):
        proposal = sampler.propose(number, history)
        check_valid(proposal, MIXED)
        stage = list(Stage)[number % 4]
        epochs = {Stage.RUNNING: number % 3, Stage.WAITING: 1, Stage.ENDED: 4, Stage.LOST: number % 2}[stage]
        curve = {epoch: (math.nan if number == 2 else float(number % 7),) for epoch in range(1, epochs + 1)}
        memory = json.loads(json.dumps(proposal.memory))
        violation = 0.5 if number % 5 == 0 else 0.0
        history.append(Observation(number, proposal.values, curve, stage, violation, None, memory))


@pytest.mark.parametrize("name", FREE)
def test_a_resumed_search_goes_on_as_an_uninterrupted_one(name: SamplerName) -> None:
    whole = search(build(name, LINE), 18, near_point_three)
    half = search(build(name, LINE), 9, near_point_three)
    resumed = search(build(name, LINE), 18, near_point_three, half)
    assert [trial.values for trial in resumed] == [trial.values for trial in whole]


@pytest.mark.parametrize("name", FREE)
def test_another_seed_searches_elsewhere(name: SamplerName) -> None:
    first, second = (search(build(name, LINE, seed=seed), 3, near_point_three) for seed in (0, 1))
    assert all(a.values != b.values for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", [SamplerName.AUTO, SamplerName.GP])
def test_a_smooth_function_is_found_to_a_hundredth_in_twenty_trials(name: SamplerName) -> None:
    history = search(build(name, LINE), 20, near_point_three)
    best = history[final_choice(history, 4) or 0]
    assert math.dist((float(best.values["x"]), float(best.values["y"])), (0.3, 0.3)) < 0.02


def test_gp_expects_less_gain_at_the_end_than_at_the_beginning() -> None:
    sampler = build(SamplerName.GP, LINE)
    history = search(sampler, 25, near_point_three)
    early, late = sampler.propose(6, history[:6]).expected_gain, sampler.propose(25, history).expected_gain
    assert early is not None
    assert late is not None
    assert 0 <= late < early / 3


def test_gp_does_not_try_a_configuration_twice_while_there_are_others() -> None:
    history = search(build(SamplerName.GP, SMALL, startup=2), 4, lambda _: {4: (1.0,)})
    started = {tuple(sorted(trial.values.items())) for trial in history}
    assert len(started) >= 3  # two startup points may coincide


def test_a_related_earlier_search_is_used_from_the_first_proposal() -> None:
    generator = np.random.default_rng(0)
    earlier = []
    for number in range(40):
        values: Values = {"x": float(generator.random()), "y": float(generator.random())}
        curve = {epoch: (50 * v[0],) for epoch, v in near_point_three(Proposal(values)).items()}
        earlier.append(Observation(number, values, curve, Stage.ENDED, source="last-week"))
    first = build(SamplerName.AUTO, LINE).propose(0, earlier)
    assert math.dist((float(first.values["x"]), float(first.values["y"])), (0.3, 0.3)) < 0.15


def test_auto_says_by_whom_a_trial_was_proposed() -> None:
    history = search(build(SamplerName.AUTO, LINE), 17, near_point_three)
    assert {trial.memory["by"] for trial in history[:5]} == {"quasi-random"}
    assert history[6].memory["by"] == "gp"


def test_auto_falls_back_to_tpe_on_pure_noise_and_says_why() -> None:
    def noise(proposal: Proposal) -> Curve:
        seed = abs(hash(tuple(float(v) for v in proposal.values.values()))) % 2**32
        return {epoch: (float(np.random.default_rng(seed).standard_normal()),) for epoch in range(1, 5)}

    history = search(build(SamplerName.AUTO, LINE), 40, noise)
    told = [trial.memory for trial in history if trial.memory["by"] == "tpe"]
    assert any("ranks unseen trials" in memory["why"] for memory in told)


def test_distrust_needs_a_difference_beyond_the_standard_error() -> None:
    assert distrust({}) is None
    assert distrust({"gp": 0.5, "univariate": 0.6, "trials": 30, "error": 0.19}) is None
    assert distrust({"gp": 0.3, "univariate": 0.6, "trials": 30, "error": 0.19}) is not None
    assert distrust({"gp": 0.1, "univariate": 0.0, "trials": 30, "error": 0.19}) is not None
    assert distrust({"gp": 0.1, "univariate": 0.0, "trials": 12, "error": 0.3}) is None


def test_a_grid_visits_each_configuration_once() -> None:
    history = search(build(SamplerName.GRID, SMALL), 4, lambda _: {4: (1.0,)})
    assert len({tuple(sorted(trial.values.items())) for trial in history}) == 4  # a with 1, 2, 3, and b


def test_a_grid_over_reals_without_a_step_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"x: a grid needs finitely many values.*give it a step"):
        build(SamplerName.GRID, LINE)


def test_cma_es_refuses_several_objectives() -> None:
    with pytest.raises(ConfigError, match="one objective"):
        build(SamplerName.CMA_ES, LINE, objectives=2)


def test_cma_es_goes_on_with_its_optimiser_after_a_resume() -> None:
    pytest.importorskip("cmaes")
    history = search(build(SamplerName.CMA_ES, LINE), 60, near_point_three)
    late = np.array([[float(trial.values["x"]), float(trial.values["y"])] for trial in history[-10:]])
    assert np.linalg.norm(late - 0.3, axis=1).mean() < 0.2  # uniform draws: 0.47
    resumed = search(build(SamplerName.CMA_ES, LINE), 60, near_point_three, history[:30])
    assert [trial.values for trial in resumed] == [trial.values for trial in history]


@pytest.mark.parametrize("name", [SamplerName.AUTO, SamplerName.GP, SamplerName.TPE, SamplerName.NSGA2])
def test_several_objectives_spread_along_the_front(name: SamplerName) -> None:
    def two(proposal: Proposal) -> Curve:
        x, y = float(proposal.values["x"]), float(proposal.values["y"])
        return {4: (1 - x**2 - y, 1 - (1 - x) ** 2 - y)}  # the front: y = 0, any x

    history = search(build(name, LINE, objectives=2), 40, two)
    points = np.array([trial.curve[4] for trial in history])
    # The whole front (y = 0) spans over (0, 0): integral of 1 - (1 - x)^2 along 1 - x^2, by x: 2x (2x - x^2) = 5/6.
    assert hypervolume(points, np.zeros(2)) > 0.6 * 5 / 6
    assert hypervolume(points, np.zeros(2)) <= 5 / 6


def test_a_front_holds_what_nothing_dominates() -> None:
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [1.0, 2.0], [2.0, 2.0]])
    assert front(points).tolist() == [0, 1, 2, 4]


def test_hypervolumes_by_paper_and_pencil() -> None:
    assert hypervolume(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]), np.zeros(2)) == pytest.approx(6.0)
    assert hypervolume(np.array([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]]), np.zeros(3)) == pytest.approx(4)
    assert hypervolume(np.array([[-1.0, 3.0]]), np.zeros(2)) == 0.0


def test_scalarised_by_one_weight_keeps_that_objectives_order() -> None:
    history = [Observation(n, {}, {1: (float(n), float(-n))}, Stage.ENDED) for n in range(4)]
    values = [trial.curve[1][0] for trial in scalarised(history, np.array([1.0, 0.0]))]
    assert values == sorted(values)
    assert values[-1] == 0.0  # the best is the ideal


def test_without_noise_the_choice_is_the_plain_maximum() -> None:
    for seed in range(20):
        generator = np.random.default_rng(seed)
        history = []
        for number, (top, rate) in enumerate(zip(generator.random(25), generator.uniform(0.1, 2, 25), strict=True)):
            curve = {e: (float(top * (1 - math.exp(-rate * e))),) for e in range(1, int(generator.integers(3, 30)))}
            history.append(Observation(number, {}, curve, Stage.ENDED))
        best = max(history, key=lambda trial: max(value for (value,) in trial.curve.values()))
        assert final_choice(history, 30) == best.number


def test_under_noise_the_choice_is_better_on_average_than_the_maximum() -> None:
    chosen, highest = [], []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        tops = generator.uniform(0.7, 0.8, 12)
        curves = [top * (1 - np.exp(-np.arange(1, 31) / 4)) + 0.05 * generator.standard_normal(30) for top in tops]
        history = [
            Observation(n, {}, {e + 1: (float(v),) for e, v in enumerate(curve)}, Stage.ENDED)
            for n, curve in enumerate(curves)
        ]
        chosen.append(tops[final_choice(history, 30) or 0])
        highest.append(tops[int(np.argmax([curve.max() for curve in curves]))])
    assert np.mean(chosen) > np.mean(highest) + 0.002


def test_the_choice_keeps_the_constraints_and_ignores_the_lost() -> None:
    history = [
        Observation(0, {}, {1: (0.9,)}, Stage.LOST),
        Observation(1, {}, {1: (0.8,)}, Stage.ENDED, violation=0.1),
        Observation(2, {}, {1: (0.5,)}, Stage.ENDED),
        Observation(3, {}, {1: (0.7,)}, Stage.ENDED, source="earlier"),
        Observation(4, {}, {}, Stage.RUNNING),
    ]
    assert final_choice(history, 4) == 2
    assert final_choice(history[:2], 4) == 1
    assert final_choice(history[4:], 4) is None


def test_smoothing_keeps_exact_curves_and_calms_noisy_ones() -> None:
    exact = {epoch: 1 - math.exp(-epoch / 5) for epoch in range(1, 31)}
    np.testing.assert_allclose(smoothed([exact], 30)[0], list(exact.values()), atol=1e-3)
    generator = np.random.default_rng(0)
    noisy = {epoch: value + 0.1 * float(generator.standard_normal()) for epoch, value in exact.items()}
    errors = smoothed([noisy], 30)[0] - np.array(list(exact.values()))
    assert np.sqrt(np.mean(errors**2)) < 0.06
