"""A listener of the search that has MLflow's writer record it; the study hears which runs they became."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from tuner.finalists import leading
from tuner.front_figure import FRONT
from tuner.halt import INTERRUPTED
from tuner.leaves import flat
from tuner.recording.facts import Checkpoint, RunFacts, SearchEnd, SearchFacts
from tuner.recording.recorder import Recorder
from tuner.result import BEST_CONFIG, SearchResult
from tuner.search_folder import REPORT_FILE, RESULT_FILE, SPEC_FILE, Identity
from tuner.spec.objective import Mode
from tuner.spec.search_spec import EPOCHS, SearchSpec
from tuner.study.record import DEFAULT_TRIAL, TrialRecord, TrialState
from tuner.study.study import Study

_OTHERS = 4  # of the next best, in the search's note
FINISH_S = 30.0  # to wait for MLflow at the end; what is not written by then is for `spiketune sync`


class Tracker:
    """Tells the recorder of trials. `notes` says what went wrong, if anything did."""

    def __init__(self, recorder: Recorder, study: Study, spec: SearchSpec) -> None:
        self.notes: list[str] = []
        self._spec = spec
        self._recorder = recorder
        self._study = study

    @classmethod
    def begin(
        cls, spec: SearchSpec, study: Study, folder: Path, identity: Identity, say: Callable[[str], None]
    ) -> "Tracker":
        """Start the writer, and tell it what an earlier process did not come to."""
        params = flat(spec.file.model_dump(mode="json"))
        objective = spec.file.objective
        facts = SearchFacts(
            search_id=identity.search_id,
            dataset=identity.dataset,
            params=params,
            spec_file=Path(SPEC_FILE),
            digest=identity.digest,
            objective=objective.metric,
            maximise=objective.mode is Mode.MAX,
            sampled=spec.space.leaves,
        )
        tracker = cls(Recorder.begin(folder, facts, say), study, spec)
        for number in tracker._recorder.running():
            if number < len(study.trials()) and study.trial(number).state not in _GOES_ON:
                tracker.ended(study.trial(number))
        return tracker

    def started(self, trial: TrialRecord) -> None:
        """Open the trial's run."""
        self._recorder.started(_facts(trial, self._spec))
        self._learn_runs()

    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:
        """Record an epoch."""
        self._recorder.reported(_facts(trial, self._spec), metrics)
        self._learn_runs()

    def waiting(self, trial: TrialRecord) -> None:
        """Close the run for the time being: nothing trains it now, and nobody may ever go on with it."""
        self._recorder.ended(_facts(trial, self._spec))

    def ended(self, trial: TrialRecord) -> None:
        """Close the trial's run."""
        self._recorder.ended(_facts(trial, self._spec))
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


def _facts(trial: TrialRecord, spec: SearchSpec) -> RunFacts:
    names = spec.file.names
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
        scores=_scores(trial, spec),
        best_epoch=trial.best_epoch,
        last_epoch=trial.last_epoch,
        epochs=int(trial.config[EPOCHS]),
        settings={leaf: (value, trial.default.get(leaf)) for leaf, value in trial.sampled.items()},
    )


def _scores(trial: TrialRecord, spec: SearchSpec) -> dict[str, float]:
    """The objectives and AP of its best epoch."""
    if trial.metrics is None:
        return {}
    return {**dict(zip(spec.file.objective.metrics, trial.values, strict=True)), **(trial.scores or {})}


def _end(result: SearchResult) -> SearchEnd:
    spec, objective = result.spec, result.spec.file.objective
    best, default = result.best, result.default
    leaders = {t.number: t for t in (best, *leading(spec, result.trials), default) if t is not None}
    kept = [t for t in leaders.values() if t.checkpoint is not None]
    trials = {t.number: _facts(t, spec) for t in result.trials}
    return SearchEnd(
        counts=result.states(),
        best=None if best is None else trials[best.number],
        best_values={} if best is None else best.sampled,
        default=None if default is None else trials[default.number],
        others=[trials[number] for number in leaders if best is not None and number != best.number][:_OTHERS],
        trials=trials,
        config=Path(BEST_CONFIG),
        sure=_sure(result),
        epochs=sum(t.epochs for t in result.trials),
        busy_s=sum(t.busy_s for t in result.trials),
        cost=sum(t.cost for t in result.trials),
        halted=result.halted,
        interrupted=result.halted == INTERRUPTED,
        objective=objective.metric,
        maximise=objective.mode is Mode.MAX,
        curves={t.number: {epoch: values[0] for epoch, values in t.curve.items()} for t in result.trials},
        files=[Path(SPEC_FILE), Path(BEST_CONFIG), Path(RESULT_FILE), Path(REPORT_FILE), Path(FRONT)],
        checkpoints=[Checkpoint(t.number, Path(str(t.checkpoint))) for t in kept],
        uploads=spec.file.mlflow.checkpoints,
    )


def _sure(result: SearchResult) -> list[str]:
    """What the repeats say, a sentence each."""
    if not result.finalists:
        return []
    first, verdict = result.finalists[0], result.verdict
    mode = result.spec.file.objective.mode
    sign, side = mode.sign, "above" if mode is Mode.MAX else "below"
    bound = "" if math.isnan(first.lower) else f", 95 % sure {side} {sign * first.lower:.4f}"
    told = [f"{len(first.values)} repeats with other seeds: mean {sign * first.mean:.4f}{bound}"]
    if verdict is not None:
        told.append(f"it {verdict.told} trial {verdict.runner_up}")
    return told
