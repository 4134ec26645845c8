"""The samplers a spec can ask for."""

from enum import StrEnum


class SamplerName(StrEnum):
    """Who proposes the next trial."""

    AUTO = "auto"  # by space, budget and workers, from measured results; falls back where its model does not predict
    RANDOM = "random"
    QUASI_RANDOM = "quasi-random"  # scrambled Sobol points
    GRID = "grid"
    TPE = "tpe"  # univariate, without constant liar: the flags that beat random search in our measurements
    GP = "gp"  # a Gaussian process over the space and the epoch
    CMA_ES = "cma-es"
    NSGA2 = "nsga2"
    NSGA3 = "nsga3"
