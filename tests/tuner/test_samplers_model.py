"""The surrogate, its data and warps, against closed forms and scikit-learn-free arithmetic."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal, norm, spearmanr

from tuner.domains import Choice, Real
from tuner.samplers.acquisition import log_improvement
from tuner.samplers.encoding import Encoding
from tuner.samplers.evidence import Bins, telling
from tuner.samplers.feasibility import log_chance
from tuner.samplers.model import Learner
from tuner.samplers.observation import Observation, Stage
from tuner.samplers.relevance import spearman
from tuner.samplers.surrogate import Kernel, Points, Surrogate, _Fit, fitted, log_likelihoods, matern
from tuner.samplers.trust import parzen_scores
from tuner.samplers.warp import warps
from tuner.space import Branch, Space

LINE = Space([Branch("x", Real(0.0, 1.0))])


def points(features: np.ndarray, tasks: np.ndarray | None = None) -> Points:
    count = len(features)
    tasks_N = np.zeros(count, dtype=np.intp) if tasks is None else tasks
    return Points(features, np.linspace(0, 1, count), np.arange(count, dtype=np.intp) // 2, tasks_N)


def test_matern_at_one_length_scale_is_its_closed_form() -> None:
    assert matern(np.array([[0.0, 1.0]])) == pytest.approx(np.array([[1.0, (1 + 5**0.5 + 5 / 3) * np.exp(-(5**0.5))]]))


def test_the_slope_of_the_fit_is_that_of_finite_differences() -> None:
    generator = np.random.default_rng(0)
    tasks = np.array([0, 0, 1, 1, 2, 2] * 4, dtype=np.intp)
    known = points(generator.random((24, 3)), tasks)
    kernel = Kernel.prior(np.array([0, 1, 1]), 2, 2)
    fit = _Fit(kernel, known, generator.standard_normal(24), generator.uniform(0.5, 2, 24))
    vector = kernel.vector + 0.3 * generator.standard_normal(len(kernel.vector))
    numeric = approx_fprime(vector, lambda row: fit(row)[0], 1e-6)
    np.testing.assert_allclose(fit(vector)[1], numeric, rtol=1e-3, atol=1e-3)


def test_the_likelihood_is_that_of_a_multivariate_normal() -> None:
    generator = np.random.default_rng(1)
    known, values, weights = points(generator.random((6, 2))), generator.standard_normal(6), np.full(6, 0.5)
    kernel = Kernel.prior(np.array([0, 1]), 2, 0)
    covariance = kernel.between(known, known) + np.diag(np.exp(kernel.noise) * weights + 1e-6)
    expected = multivariate_normal(np.zeros(6), covariance).logpdf(values) + 3 * np.log(2 * np.pi)
    assert log_likelihoods(kernel, known, [(values, weights)]) == pytest.approx([expected])


def test_leaving_a_trial_out_equals_a_process_that_never_saw_it() -> None:
    generator = np.random.default_rng(2)
    known, values, weights = points(generator.random((12, 2))), generator.standard_normal(12), np.ones(12)
    kernel = Kernel.prior(np.array([0, 1]), 2, 0)
    left = Surrogate(kernel, known, values, weights).left_out(np.arange(12, dtype=np.intp))
    for trial in range(6):
        mine = np.flatnonzero(known.trials_N == trial)
        rest = np.flatnonzero(known.trials_N != trial)
        without = Surrogate(kernel, known.taken(rest), values[rest], weights[rest])
        np.testing.assert_allclose(left[mine], without.means(known.taken(mine)), atol=1e-6)


def test_believing_what_is_expected_keeps_the_means_and_makes_surer() -> None:
    generator = np.random.default_rng(3)
    known = points(generator.random((10, 2)))
    surrogate = Surrogate(Kernel.prior(np.array([0, 1]), 2, 0), known, generator.standard_normal(10), np.ones(10))
    asked = Points(np.full((1, 2), 0.4), np.ones(1), np.array([99]), np.zeros(1, dtype=np.intp))
    nobody = Points(asked.features_NF, asked.times_N, np.array([-1]), asked.tasks_N)
    believing = surrogate.believing(asked)
    assert believing.predicted(nobody)[0] == pytest.approx(surrogate.predicted(nobody)[0], abs=1e-5)
    own = np.exp(surrogate.kernel.own)
    shared = surrogate.predicted(nobody)[1][0] ** 2 - own
    # Knowing shared + own of the neighbour, of which only `shared` is common, with hardly any noise.
    expected = np.sqrt(shared + own - shared**2 / (shared + own))
    assert believing.predicted(nobody)[1] == pytest.approx(expected, rel=1e-2)


def test_fitting_finds_the_parameter_that_matters_and_the_noise() -> None:
    generator = np.random.default_rng(4)
    features = generator.random((150, 2))
    known = Points(features, np.zeros(150), np.arange(150, dtype=np.intp), np.zeros(150, dtype=np.intp))
    values = np.sin(6 * features[:, 0]) + 0.2 * generator.standard_normal(150)
    kernel = fitted(Kernel.prior(np.array([0, 1]), 2, 0), known, values, np.ones(150), 100)
    assert kernel.lengths_G[1] > kernel.lengths_G[0] + 1
    # Single epochs of single trials: noise and what is the configuration's own cannot be told apart.
    assert np.sqrt(np.exp(kernel.noise) + np.exp(kernel.own)) == pytest.approx(0.2, rel=0.15)


@pytest.mark.parametrize("z", [-30.0, -10.0, -3.0, -1.0, 0.0, 2.0])
def test_log_improvement_is_the_closed_form_or_its_tail(z: float) -> None:
    # Far below: phi(z) / z^2 (1 - 3 / z^2 + 15 / z^4), Abramowitz and Stegun 26.2.12 integrated.
    tail = norm.logpdf(z) - 2 * np.log(abs(z) or 1) + np.log1p(-3 / z**2 + 15 / z**4) if z < -4 else None
    exact = tail if tail is not None else np.log(z * norm.cdf(z) + norm.pdf(z))
    found = log_improvement(np.array([1 + 2 * z]), np.array([2.0]), 1.0)[0]
    assert found == pytest.approx(exact + np.log(2), abs=5e-3)


def test_bins_average_neighbouring_epochs_at_their_mean_log_epoch() -> None:
    found = Bins(8).points({epoch: float(epoch) for epoch in range(1, 9)})
    assert [point.count for point in found] == [1, 1, 1, 2, 3]  # 1, 2, 3, 4-5, 6-8
    assert [point.value for point in found] == [1, 2, 3, 4.5, 7]
    assert found[3].time == pytest.approx(np.log(20**0.5) / np.log(8))


def test_of_too_many_trials_the_best_of_the_furthest_are_kept() -> None:
    def trial(number: int) -> Observation:
        epochs = 8 if number % 10 == 0 else 1
        return Observation(number, {"x": 0.5}, {e: (float(number),) for e in range(1, epochs + 1)}, Stage.ENDED)

    kept = telling([trial(number) for number in range(200)], Bins(8), 50, seed=0)
    assert {190, 180, 170, 160, 150} <= {observation.number for observation in kept}
    assert sum(Bins(8).count(max(observation.curve)) for observation in kept) <= 50


def test_warps_turn_back_and_keep_the_order() -> None:
    values = np.array([-5.0, 1.0, 3.0, 3.5, 3.6])
    for warp in warps(values):
        np.testing.assert_allclose(warp.inverse(warp(values)), values, atol=1e-9)
        assert (np.diff(warp(values)) > 0).all()
        assert warp(values).std() == pytest.approx(1.0)
        slope = (warp(values + 1e-6) - warp(values - 1e-6)) / 2e-6
        np.testing.assert_allclose(warp.slopes(values), slope, rtol=1e-4)


def test_values_that_are_all_the_same_have_finite_warps() -> None:
    for warp in warps(np.full(5, 0.25)):
        assert np.isfinite(warp(np.full(5, 0.25))).all()


def test_lost_trials_repel() -> None:
    encoding = Encoding(LINE)
    history = [
        Observation(n, {"x": x}, {1: (0.5,)}, Stage.LOST if x > 0.5 else Stage.ENDED)
        for n, x in enumerate(np.linspace(0, 1, 20))
    ]
    chance = log_chance(encoding, history)
    assert chance is not None
    low, high = np.exp(chance(np.array([[0.1], [0.9]])))
    assert low > 0.9
    assert high < 0.1
    assert log_chance(encoding, history[:5]) is None


def test_a_related_search_tells_where_to_look_and_an_unrelated_one_is_dropped() -> None:
    generator = np.random.default_rng(5)
    history = []
    for number, x in enumerate(generator.random(30)):
        bump = float(np.exp(-((x - 0.8) ** 2) / 0.02))
        history.append(Observation(number, {"x": x}, {1: (100 + 5 * bump,)}, Stage.ENDED, source="related"))
        history.append(Observation(number, {"x": x}, {1: (float(generator.random()),)}, Stage.ENDED, source="unlike"))
    for number, x in enumerate(generator.random(10)):
        history.append(Observation(number, {"x": x}, {1: (float(np.exp(-((x - 0.8) ** 2) / 0.02)),)}, Stage.ENDED))
    model = Learner(Encoding(LINE), 1, seed=0).learned(history, np.random.default_rng(0))
    assert model is not None
    assert len(model.surrogate.kernel.ties_S) == 1
    assert set(model.surrogate.points.tasks_N) == {0, 1}
    grid = np.linspace(0, 1, 101)[:, None]
    assert grid[np.argmax(model.surrogate.means(model.asked(grid)))][0] == pytest.approx(0.8, abs=0.05)


def test_spearman_agrees_with_scipy() -> None:
    generator = np.random.default_rng(6)
    left, right = generator.integers(0, 5, 30).astype(float), generator.random(30)
    assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic)


def test_the_univariate_model_ranks_a_one_sided_effect_and_not_noise() -> None:
    generator = np.random.default_rng(7)
    rows = generator.random((200, 3))
    assert spearman(parzen_scores(rows, rows[:, 1]), rows[:, 1]) > 0.6
    noise = generator.random(200)
    assert abs(spearman(parzen_scores(rows, noise), noise)) < 0.25


def test_features_of_a_choice_alone_can_be_modelled() -> None:
    encoding = Encoding(Space([Branch("kind", Choice(("a", "b", "c")))]))
    history = [Observation(n, {"kind": "abc"[n % 3]}, {1: (float(n % 3 == 1),)}, Stage.ENDED) for n in range(12)]
    model = Learner(encoding, 1, seed=0).learned(history, np.random.default_rng(0))
    assert model is not None
    means = model.surrogate.means(model.asked(encoding.encoded([{"kind": kind} for kind in "abc"])))
    assert means[1] > max(means[0], means[2])
