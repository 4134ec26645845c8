"""run_search: real Ray workers train what the study asks for, until the budget is spent."""

import dataclasses
from datetime import datetime
from pathlib import Path

from ray import tune
from ray.tune.search import ConcurrencyLimiter

from data.dataset import Dataset
from data.errors import TrainingError
from data.manifest import Split
from model.prediction import Validation
from model.training.run import train
from tuner.asha import scheduler
from tuner.cluster import concurrency, of_the_trial, ray_running, settled
from tuner.display import Display
from tuner.halt import INTERRUPTED, Halt
from tuner.output import new_folder
from tuner.ray_events import StudySearcher, TrialEvents
from tuner.result import SPEC_FILE, SearchResult
from tuner.spec import SearchSpec
from tuner.study import Study, TrialState
from tuner.terminal import Terminal, terminal_apart
from tuner.tracking import Tracker
from tuner.trial import TrainFunction, TrialJob, run_trial

LOG_FILE = "ray.log"
TRIALS_FOLDER = "trials"
PARALLEL_FOLDER = "parallel"  # of the trials that several processes train


def new_search_id(spec: SearchSpec) -> str:
    """NAME-YYYYmmdd-HHMMSS, in local time."""
    return f"{spec.file.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def run_search(
    spec: SearchSpec,
    dataset: str | Path,
    out: Path | None = None,
    *,
    progress_on_stderr: bool = False,
    train_function: TrainFunction = train,
) -> SearchResult:
    """Search; everything it learns lies in `out` (runs/SEARCH_ID unless given) and in MLflow.

    Raises:
        InputError: the dataset or the spec do not fit, or `out` is not empty. Nothing has been started then.
        TrainingError: every trial failed, or the first ones failed with the same error.
    """
    opened = Dataset.open(dataset)
    for split in (Split.TRAIN, spec.file.objective.split):
        opened.shards(split)
    search_id = new_search_id(spec)
    folder = new_folder(out if out is not None else Path("runs") / search_id)
    spec.write(folder / SPEC_FILE)
    job = TrialJob(
        default=spec.default,
        dataset=opened.location,
        validation=Validation(spec.file.objective.split, spec.file.objective.windows),
        metric=spec.file.objective.metric,
        threads=spec.file.resources.cpus,
        processes=spec.file.resources.ranks,
        gpus=spec.file.resources.gpus,
        parallel_folder=str((folder / PARALLEL_FOLDER).absolute()),
        train=train_function,
    )
    with terminal_apart(folder / LOG_FILE) as terminal:
        result = _search(spec, job, folder, search_id, _display(terminal, spec, progress_on_stderr))
    if result.halted not in (None, INTERRUPTED):
        raise TrainingError(f"{search_id}: {result.halted}; details: {folder / LOG_FILE}")
    states = result.states()
    if result.halted is None and states[TrialState.FAILED] + states[TrialState.DIVERGED] == len(result.trials):
        raise TrainingError(f"{search_id}: every trial failed; {_first_error(result)}")
    return result


def _search(spec: SearchSpec, job: TrialJob, folder: Path, search_id: str, display: Display) -> SearchResult:
    halt = Halt()
    with display, halt.on_signals():
        display.say(f"search {search_id}, results in {folder}; starting Ray")
        with ray_running(folder / LOG_FILE):
            default = settled(spec.default, spec.file.resources)
            spec, job = dataclasses.replace(spec, default=default), dataclasses.replace(job, default=default)
            return _record(spec, job, folder, search_id, display, halt)


def _record(
    spec: SearchSpec, job: TrialJob, folder: Path, search_id: str, display: Display, halt: Halt
) -> SearchResult:
    study = Study.create(folder, spec, search_id)
    tracker = Tracker.begin(spec, study, folder, job.dataset, display.say)
    events = TrialEvents(study, halt, [tracker, display])
    try:
        _tune(spec, job, folder, StudySearcher(study, job.metric, spec.file.objective.mode), events, halt)
    except BaseException:
        halt.reason = halt.reason or "the search itself failed"
        raise
    finally:
        events.close(halt.reason or "Ray never started it")
        result = SearchResult(search_id, folder, spec, study.trials(), halt.reason)
        result.write_winner()
        tracker.finish(result)
        result = dataclasses.replace(result, notes=tuple(tracker.notes))
        result.write_summary()
    return result


def _tune(
    spec: SearchSpec, job: TrialJob, folder: Path, searcher: StudySearcher, events: TrialEvents, halt: Halt
) -> None:
    resources = spec.file.resources
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, job=job), of_the_trial(resources)),
        tune_config=tune.TuneConfig(
            # The limiter keeps Ray from asking for a trial before there is room, when less is known.
            search_alg=ConcurrencyLimiter(searcher, max_concurrent=concurrency(resources)),
            scheduler=scheduler(spec),
            num_samples=spec.file.budget.trials,
            reuse_actors=True,  # a fresh worker costs 3 to 4 s of imports a trial
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=TRIALS_FOLDER,
            storage_path=str(folder.absolute()),
            callbacks=[events],
            stop=halt,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    tuner.fit()


def _trial_name(trial: tune.experiment.Trial) -> str:
    return f"{trial.config['number']:04d}"


def _display(terminal: Terminal, spec: SearchSpec, on_stderr: bool) -> Display:
    return Display(terminal.stderr if on_stderr else terminal.stdout, spec)


def _first_error(result: SearchResult) -> str:
    errors = [
        trial.error
        for trial in result.trials
        if trial.state in (TrialState.FAILED, TrialState.DIVERGED) and trial.error
    ]
    return f"the first error: {errors[0]}" if errors else "see its log"
