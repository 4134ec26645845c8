"""A listener of the search that has MLflow's writer record it; the study hears which runs they became."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.finalists import leading
from tuner.front_figure import FRONT
from tuner.halt import INTERRUPTED
from tuner.recording.facts import Checkpoint, RunFacts, SearchEnd, SearchFacts
from tuner.recording.recorder import Recorder
from tuner.result import BEST_CONFIG, RESULT_FILE, SearchResult
from tuner.search_folder import SPEC_FILE, Identity
from tuner.spec.objective import Mode
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import DEFAULT_TRIAL, TrialRecord, TrialState
from tuner.study.study import Study

FINISH_S = 30.0  # to wait for MLflow at the end; what is not written by then is for `spiketune sync`


class Tracker:
    """Tells the recorder of trials. `notes` says what went wrong, if anything did."""

    def __init__(self, recorder: Recorder, study: Study, names: Sequence[str] = ()) -> None:
        self.notes: list[str] = []
        self._names = names
        self._recorder = recorder
        self._study = study

    @classmethod
    def begin(
        cls, spec: SearchSpec, study: Study, folder: Path, identity: Identity, say: Callable[[str], None]
    ) -> "Tracker":
        """Start the writer, and tell it what an earlier process did not come to."""
        params = _flat(spec.file.model_dump(mode="json"))
        facts = SearchFacts(identity.search_id, identity.dataset, params, Path(SPEC_FILE), identity.digest)
        tracker = cls(Recorder.begin(folder, facts, say), study, spec.file.names)
        for number in tracker._recorder.running():
            if number < len(study.trials()) and study.trial(number).state not in _GOES_ON:
                tracker.ended(study.trial(number))
        return tracker

    def started(self, trial: TrialRecord) -> None:
        """Open the trial's run."""
        self._recorder.started(_facts(trial, self._names))
        self._learn_runs()

    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:
        """Record an epoch."""
        self._recorder.reported(_facts(trial, self._names), metrics)
        self._learn_runs()

    def waiting(self, trial: TrialRecord) -> None:
        """Close the run for the time being: nothing trains it now, and nobody may ever go on with it."""
        self._recorder.ended(_facts(trial, self._names))

    def ended(self, trial: TrialRecord) -> None:
        """Close the trial's run."""
        self._recorder.ended(_facts(trial, self._names))
        self._learn_runs()

    def finish(self, result: SearchResult) -> None:
        """Close the search's run, and wait a while until MLflow has everything."""
        self.notes += self._recorder.finish(_end(result), FINISH_S)
        self._learn_runs()

    def _learn_runs(self) -> None:
        for number, run_id in self._recorder.run_ids().items():
            if self._study.trial(number).mlflow_run_id != run_id:
                self._study.tag_run(number, run_id)


_GOES_ON = (TrialState.RUNNING, TrialState.PREEMPTED)


def _facts(trial: TrialRecord, names: Sequence[str]) -> RunFacts:
    title = names[trial.number] if trial.number < len(names) else None
    word = f" {title}" if title is not None else " default" if trial.number == DEFAULT_TRIAL else ""
    if trial.origin.repeats is not None:
        word = f" repeats {trial.origin.repeats:04d}, seed {trial.seed}"
    return RunFacts(
        number=trial.number,
        name=f"{trial.number:04d}{word}",
        config=trial.config,
        state=trial.state.value,
        title=title,
        repeats=trial.origin.repeats,
        seed=trial.seed,
        node=trial.node,
        error=trial.error,
        diagnosis=trial.diagnosis,
        scores=trial.scores or {},
        best_epoch=trial.best_epoch,
    )


def _end(result: SearchResult) -> SearchEnd:
    best, default, objective = result.best, result.default, result.spec.file.objective
    names = result.spec.file.names
    leaders = [t for t in (best, *leading(result.spec, result.trials), default) if t is not None]
    ranked = {t.number: t for t in leaders if t.checkpoint is not None}
    return SearchEnd(
        counts=result.states(),
        best=None if best is None else _facts(best, names),
        best_values={} if best is None else best.sampled,
        default=None if default is None else _facts(default, names),
        halted=result.halted,
        interrupted=result.halted == INTERRUPTED,
        objective=objective.metric,
        maximise=objective.mode is Mode.MAX,
        curves={t.number: {epoch: values[0] for epoch, values in t.curve.items()} for t in result.trials},
        files=[Path(SPEC_FILE), Path(BEST_CONFIG), Path(RESULT_FILE), Path(FRONT)],
        checkpoints=[Checkpoint(t.number, Path(str(t.checkpoint))) for t in ranked.values()],
        uploads=result.spec.file.mlflow.checkpoints,
    )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
