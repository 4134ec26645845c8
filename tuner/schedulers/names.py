"""The schedulers a spec can ask for."""

from enum import StrEnum


class SchedulerName(StrEnum):
    """Who stops or pauses weak trials."""

    ASHA = "asha"  # stopping: a trial that is not among the best at a rung ends
    PROMOTION = "promotion"  # ASHA as published: every trial waits at a rung until it is among the best
    HYPERBAND = "hyperband"  # asynchronous: ASHA with brackets of ever longer grace
    MEDIAN = "median"  # Google Vizier's median stopping rule
    PBT = "pbt"  # population-based training: poor trials take over weights and perturbed settings of good ones
    NONE = "none"
