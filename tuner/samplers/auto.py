"""The `auto` sampler: a Gaussian process as long as it predicts the search's own trials, TPE where it does not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tuner.samplers.gp import BY, GaussianProposer
from tuner.samplers.model import Model
from tuner.samplers.observation import Observation, Proposal
from tuner.samplers.tpe import ParzenProposer
from tuner.samplers.trust import ranks
from tuner.space import Space

WHY, RANKS = "why", "ranks"
FEWEST_TRIALS = 20  # before so many were ranked the process has the benefit of the doubt
# Whatever a model believes, every so many trials one goes where it would not look.
RANDOM_EVERY = 16
# On rough ground the process can settle beside the best place: after so many trials without a better one, TPE takes
# every third turn.
PATIENCE, TURN = 10, 3


class AutoProposer:
    """Chooses who proposes, by leave-one-out rank correlations on the study itself, and says so in the memory."""

    def __init__(self, space: Space, *, seed: int, epochs: int, objectives: int, startup_trials: int) -> None:
        self._seed = seed
        options = {"seed": seed, "epochs": epochs, "objectives": objectives, "startup_trials": startup_trials}
        self._process = GaussianProposer(space, **options)
        self._parzen = ParzenProposer(space, **options)

    def propose(self, number: int, history: Sequence[Observation]) -> Proposal:
        """Values for trial `number`."""
        if self._process.starting(number, history):
            return self._process.started(number)
        single = self._process.single(number, history)
        model = self._process.model(number, single)
        if model is None or number % RANDOM_EVERY == RANDOM_EVERY - 1:
            return self._process.started(number)
        found = self._ranks(model, history)
        memory = {**model.memory, RANKS: found}
        why = distrust(found) or stagnation(model, number)
        if why is not None:
            values = self._parzen.propose(number, history).values
            return Proposal(values, {**memory, BY: "tpe", WHY: why})
        proposal = self._process.improved(model, number, single)
        return Proposal(proposal.values, {**proposal.memory, **memory}, proposal.expected_gain)

    def _ranks(self, model: Model, history: Sequence[Observation]) -> Mapping[str, Any]:
        """The latest verdict, or a new one when the model has been fitted anew."""
        for trial in reversed(history):
            if trial.source is None and RANKS in trial.memory:
                if trial.memory["points"] == model.memory["points"]:
                    found: Mapping[str, Any] = trial.memory[RANKS]
                    return found
                break
        new = ranks(model)
        if new is None:
            return {}
        return {"gp": new.process, "univariate": new.univariate, "trials": new.trials, "error": new.error}


def stagnation(model: Model, number: int) -> str | None:
    """Why TPE should propose this one: for long no trial came near the best, so the process may miss where to look."""
    if number % TURN != 0 or not len(model.trials):
        return None
    best = model.trials[int(np.argmax(model.surrogate.means(model.tried())))].number
    if number - best <= PATIENCE:
        return None
    return f"no trial since {best} is expected to end better; every {TURN}rd proposal looks elsewhere until one does"


def distrust(found: Mapping[str, Any]) -> str | None:
    """Why the process should not propose: it ranks unseen trials no better than chance, or worse than TPE's model."""
    if not found or found["trials"] < FEWEST_TRIALS:
        return None
    process, univariate, error = found["gp"], found["univariate"], found["error"]
    if process < error:
        return f"the Gaussian process ranks unseen trials by {process:.2f}, chance by up to {error:.2f}"
    if univariate - process > error:
        return f"the Gaussian process ranks unseen trials by {process:.2f}, a univariate model by {univariate:.2f}"
    return None
