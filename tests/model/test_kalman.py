import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tracking.kalman import Array, Motion, begun, centred, corrected, predicted, squared_distance, with_size_held

STILL = np.array([[100.0, 50.0, 40.0, 20.0]])


class MatrixFilter:
    """The textbook's filter: eight states, full matrices, noise integrated from its density."""

    def __init__(self, measured: Array) -> None:
        self.x = np.concatenate([measured, np.zeros(4)])
        self._weigh(measured)
        self.P = np.diag(np.concatenate([(2 / 20 * self.scale) ** 2, (10 / 160 * self.scale) ** 2]))

    def _weigh(self, measured: Array) -> None:
        self.scale = np.array([measured[2], measured[3], measured[2], measured[3]])

    def predict(self, frames: float) -> None:
        one = np.eye(4)
        F = np.block([[one, frames * one], [0 * one, one]])
        q, v = np.diag((self.scale / 20) ** 2), np.diag((self.scale / 160) ** 2)
        # The integral over s of F(s) diag(q, v) F(s)^T.
        Q = np.block(
            [[frames * q + frames**3 / 3 * v, frames**2 / 2 * v], [frames**2 / 2 * v, frames * v]],
        )
        self.x, self.P = F @ self.x, F @ self.P @ F.T + Q

    def gate(self, measured: Array) -> float:
        H = np.eye(4, 8)
        S = H @ self.P @ H.T + np.diag((self.scale / 20) ** 2)
        surprise = measured - H @ self.x
        return float(surprise @ np.linalg.inv(S) @ surprise)

    def correct(self, measured: Array) -> None:
        H = np.eye(4, 8)
        S = H @ self.P @ H.T + np.diag((self.scale / 20) ** 2)
        gain = self.P @ H.T @ np.linalg.inv(S)
        self.x = self.x + gain @ (measured - H @ self.x)
        self.P = (np.eye(8) - gain @ H) @ self.P
        self._weigh(measured)


def covariance(motion: Motion) -> Array:
    pp, pv, vv = (
        np.diag(column[0]) for column in (motion.position_variance, motion.covariance, motion.velocity_variance)
    )
    return np.block([[pp, pv], [pv, vv]])


def test_it_equals_the_filter_of_full_matrices_over_irregular_steps() -> None:
    random = np.random.default_rng(0)
    measured = STILL.copy()
    motion, matrices = begun(measured), MatrixFilter(measured[0])
    for _ in range(30):
        frames = random.uniform(0.1, 5)
        measured = measured + random.normal(0, 2, (1, 4))
        motion = predicted(motion, frames)
        matrices.predict(frames)
        assert squared_distance(motion, measured)[0, 0] == pytest.approx(matrices.gate(measured[0]), rel=1e-9)
        motion = corrected(motion, measured)
        matrices.correct(measured[0])
        np.testing.assert_allclose(np.concatenate([motion.position[0], motion.velocity[0]]), matrices.x, rtol=1e-9)
        np.testing.assert_allclose(covariance(motion), matrices.P, rtol=1e-8, atol=1e-12)


@settings(deadline=None)
@given(st.floats(0.01, 20), st.floats(0.01, 20))
def test_two_predictions_are_one_over_both_times(first: float, second: float) -> None:
    motion = corrected(predicted(begun(STILL), 1.0), STILL + 3)
    twice, once = predicted(predicted(motion, first), second), predicted(motion, first + second)
    np.testing.assert_allclose(twice.position, once.position, rtol=1e-9)
    np.testing.assert_allclose(covariance(twice), covariance(once), rtol=1e-9)


def test_a_box_of_constant_velocity_is_found_where_it_goes() -> None:
    velocity = np.array([[3.0, -1.0, 0.0, 0.0]])
    motion = begun(STILL)
    for frame in range(1, 200):
        motion = corrected(predicted(motion, 1.0), STILL + frame * velocity)
    np.testing.assert_allclose(motion.velocity, velocity, atol=1e-6)
    np.testing.assert_allclose(predicted(motion, 2.5).position, STILL + 201.5 * velocity, atol=1e-4)


def test_the_first_correction_weighs_prediction_and_measurement_by_their_variances() -> None:
    # x: sides of 40 px give 2 px of noise. At first 4 px of position and 2.5 px of velocity; one frame later the
    # variance is 16 + 6.25 + 4 + 0.25² / 3, of the measurement 4.
    motion = predicted(begun(STILL), 1.0)
    variance = 16 + 6.25 + 4 + 0.0625 / 3
    assert motion.position_variance[0, 0] == pytest.approx(variance)
    assert squared_distance(motion, STILL + np.array([[6.0, 0, 0, 0]]))[0, 0] == pytest.approx(36 / (variance + 4))
    after = corrected(motion, STILL + np.array([[10.0, 0, 0, 0]]))
    assert after.position[0, 0] == pytest.approx(100 + 10 * variance / (variance + 4))


def test_the_size_of_an_unseen_box_is_held_while_it_moves_on() -> None:
    motion = begun(np.repeat(STILL, 2, axis=0))
    motion = corrected(predicted(motion, 1.0), motion.position + 4)
    held = predicted(with_size_held(motion, np.array([True, False])), 10.0)
    np.testing.assert_array_equal(held.position[0, 2:], motion.position[0, 2:])
    assert (held.position[1, 2:] > motion.position[1, 2:]).all()
    np.testing.assert_array_equal(held.position[0, :2], held.position[1, :2])


def test_corners_become_centre_and_sides() -> None:
    corners = np.array([[10, 20, 30, 60]], np.float32)
    np.testing.assert_array_equal(centred(corners), [[20, 40, 20, 40]])
    np.testing.assert_array_equal(begun(centred(corners)).corners(), corners)
