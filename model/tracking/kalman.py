"""Motion of tracked boxes: a Kalman filter of constant velocity over irregular time steps.

Centre x, centre y, width and height move independently of each other, as in BoT-SORT (Aharon et al. 2022, arXiv
2206.14651). So each has a filter of two states, position and velocity, and no matrix is inverted.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_] | npt.NDArray[np.intp]

POSITION_NOISE = 1 / 20  # standard deviation of a frame's step and of a measurement, in sides of the box (DeepSORT)
VELOCITY_NOISE = 1 / 160  # the same of velocity, a frame (DeepSORT)
FIRST_POSITION, FIRST_VELOCITY = 2, 10  # a new track's deviations, in those of a step (DeepSORT)
SMALLEST = 1.0  # px: a side below it would leave no noise at all


@dataclass(frozen=True, slots=True)
class Motion:
    """N boxes in motion; columns are centre x, centre y, width, height, in pixels and frames."""

    position: Array  # [N, 4]
    velocity: Array  # [N, 4] a frame
    position_variance: Array  # [N, 4]
    covariance: Array  # [N, 4] of position and velocity
    velocity_variance: Array  # [N, 4]
    scale: Array  # [N, 4] px, the sides that noise is in proportion to, as last measured

    def take(self, rows: Rows) -> "Motion":
        """The boxes of these rows."""
        return Motion(*(column[rows] for column in self._columns()))

    def joined(self, other: "Motion") -> "Motion":
        """These boxes, then those."""
        return Motion(*(np.concatenate(pair) for pair in zip(self._columns(), other._columns(), strict=True)))

    def with_rows(self, rows: Rows, other: "Motion") -> "Motion":
        """These boxes, but those of the rows as the other has them."""
        columns = tuple(column.copy() for column in self._columns())
        for column, new in zip(columns, other._columns(), strict=True):
            column[rows] = new
        return Motion(*columns)

    def corners(self) -> Array:
        """x1, y1, x2, y2 `[N, 4]`."""
        half = np.maximum(self.position[:, 2:], SMALLEST) / 2
        return np.concatenate([self.position[:, :2] - half, self.position[:, :2] + half], axis=1)

    def _columns(self) -> tuple[Array, ...]:
        return (
            self.position,
            self.velocity,
            self.position_variance,
            self.covariance,
            self.velocity_variance,
            self.scale,
        )


def centred(corners: npt.NDArray[np.floating]) -> Array:
    """Corners `[N, 4]` as centre x, centre y, width, height."""
    first, last = corners[:, :2].astype(np.float64), corners[:, 2:].astype(np.float64)
    return np.concatenate([(first + last) / 2, last - first], axis=1)


def begun(measured: Array) -> Motion:
    """Boxes measured `[N, 4]` for the first time, at rest."""
    scale = _scale(measured)
    at_rest = np.zeros_like(measured)
    position_variance = (FIRST_POSITION * POSITION_NOISE * scale) ** 2
    velocity_variance = (FIRST_VELOCITY * VELOCITY_NOISE * scale) ** 2
    return Motion(measured, at_rest, position_variance, at_rest, velocity_variance, scale)


def predicted(motion: Motion, frames: float) -> Motion:
    """The boxes after that many frames, be it a fraction of one.

    Noise drives position and velocity at a constant rate, so two predictions give what one over both times gives.
    """
    position_rate, velocity_rate = (POSITION_NOISE * motion.scale) ** 2, (VELOCITY_NOISE * motion.scale) ** 2
    covariance, velocity_variance = motion.covariance, motion.velocity_variance
    return replace(
        motion,
        position=motion.position + frames * motion.velocity,
        position_variance=motion.position_variance
        + 2 * frames * covariance
        + frames**2 * velocity_variance
        + frames * position_rate
        + frames**3 / 3 * velocity_rate,
        covariance=covariance + frames * velocity_variance + frames**2 / 2 * velocity_rate,
        velocity_variance=velocity_variance + frames * velocity_rate,
    )


def corrected(motion: Motion, measured: Array) -> Motion:
    """The boxes after each was measured `[N, 4]`."""
    total = motion.position_variance + (POSITION_NOISE * motion.scale) ** 2
    position_gain, velocity_gain = motion.position_variance / total, motion.covariance / total
    surprise = measured - motion.position
    return Motion(
        motion.position + position_gain * surprise,
        motion.velocity + velocity_gain * surprise,
        motion.position_variance * (1 - position_gain),
        motion.covariance * (1 - position_gain),
        motion.velocity_variance - velocity_gain * motion.covariance,
        _scale(measured),
    )


def with_size_held(motion: Motion, rows: npt.NDArray[np.bool_]) -> Motion:
    """The same, but the sides of these rows stay as they are: unseen, they would grow or shrink without end."""
    velocity = motion.velocity.copy()
    velocity[rows, 2:] = 0
    return replace(motion, velocity=velocity)


def squared_distance(motion: Motion, measured: Array) -> Array:
    """Squared Mahalanobis distance `[N, M]` of measurements `[M, 4]` from where the boxes are expected."""
    total = motion.position_variance + (POSITION_NOISE * motion.scale) ** 2
    surprise = measured[None] - motion.position[:, None]
    return np.asarray((surprise**2 / total[:, None]).sum(-1))


def _scale(measured: Array) -> Array:
    return np.tile(np.maximum(measured[:, 2:], SMALLEST), 2)
