"""Whether one configuration's trainings beat another's beyond the noise of their seeds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.05
WELCH = "Welch's t-test, one-sided"
STUDENT = "Student's t-test, one-sided: the champion has one training, whose spread is taken to be the challenger's"


@dataclass(frozen=True)
class Comparison:
    """A challenger against the champion."""

    difference: float  # of the means; above 0: the challenger's is higher
    p_value: float  # of so large a difference if there were none; nan where no training differs from another
    test: str

    @property
    def better(self) -> bool:
        """Beyond noise, at 5 %."""
        return self.p_value < LEVEL


def compare(challenger: Sequence[float], champion: Sequence[float]) -> Comparison:
    """Test whether the challenger's mean is higher (Welch 1947).

    Args:
        challenger: a value for each training, at least two.
        champion: as many as there are, at least one.

    Raises:
        ValueError: there are fewer.
    """
    if len(challenger) < 2 or not champion:
        raise ValueError(f"{len(challenger)} against {len(champion)} trainings tell nothing of noise")
    mine, theirs = statistics.fmean(challenger), statistics.fmean(champion)
    alone = len(champion) == 1
    spread, other = statistics.stdev(challenger), 0.0 if alone else statistics.stdev(champion)
    p_value = math.nan
    if spread or other:
        p_value = float(
            stats.ttest_ind_from_stats(
                mine, spread, len(challenger), theirs, other, len(champion), equal_var=alone, alternative="greater"
            ).pvalue
        )
    return Comparison(mine - theirs, p_value, STUDENT if alone else WELCH)
