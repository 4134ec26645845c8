"""run_search: real Ray workers train what the engine asks for, until the budget is spent; and go on after a death."""

import dataclasses
import os
from contextlib import ExitStack
from pathlib import Path

from ray import tune

from data.dataset import Dataset
from data.errors import TrainingError
from data.manifest import Split
from model.prediction import Validation
from model.training.run import train
from tuner.assembly import engine_of, scheduler_of
from tuner.cluster import Room, concurrency, needs, of_the_trial, ray_running, room, settled
from tuner.display import Display
from tuner.front_figure import write_front
from tuner.halt import INTERRUPTED, Halt
from tuner.heirs import CopiedFiles
from tuner.ledger import Ledger
from tuner.plan import plan
from tuner.prices import Meter
from tuner.progress import Progress
from tuner.ray_events import Listener, StudySearcher, TrialEvents
from tuner.ray_scheduler import RayScheduler
from tuner.report.refreshing import Refresher
from tuner.result import SearchResult
from tuner.search_folder import Identity, begun, held
from tuner.spec.objective import AFTER, BEFORE
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import TrialState
from tuner.study.study import Study
from tuner.terminal import Terminal, terminal_apart
from tuner.tracking import Tracker
from tuner.trial import TrainFunction, TrialJob, leg_name, run_trial
from tuner.warm_start import Earlier, warm_start

LOG_FILE = "ray.log"
TRIALS_FOLDER = "trials"
PARALLEL_FOLDER = "parallel"  # of the trials that several processes train
MANY = 1_000_000_000  # trials Ray may make; the engine knows when it is enough


def run_search(
    spec: SearchSpec,
    dataset: str | Path,
    out: Path | None = None,
    *,
    resume: bool = False,
    progress_on_stderr: bool = False,
    report: bool = True,
    train_function: TrainFunction = train,
) -> SearchResult:
    """Search; everything it learns lies in `out` (runs/SEARCH_ID unless given), in the study's database and in MLflow.

    Args:
        spec: what to search.
        dataset: its location.
        out: folder of the search.
        resume: go on with the search in `out`, or with the newest of the spec's name; begin one where there is none.
        progress_on_stderr: leave stdout alone.
        report: keep report.html in the folder, while the search runs and with the winner measured at its end.
        train_function: what trains a trial.

    Raises:
        InputError: the dataset or the spec do not fit, or `out` is not empty. Nothing has been started then.
        TrainingError: every trial failed, or one after the other failed with the same error.
    """
    opened = Dataset.open(dataset)
    for split in (Split.TRAIN, spec.file.objective.split):
        opened.shards(split)
    earlier = warm_start(spec, opened.digest)
    folder, identity = begun(spec, opened, out, resume=resume)
    job = _job(spec, opened.location, folder, train_function)
    with held(folder), terminal_apart(folder / LOG_FILE) as terminal:
        display = _display(terminal, spec, progress_on_stderr)
        refresher = Refresher(folder) if report else None
        result = _Search(spec, job, folder, identity, display, earlier, refresher).run()
    if result.halted not in (None, INTERRUPTED):
        raise TrainingError(f"{identity.search_id}: {result.halted}; details: {folder / LOG_FILE}")
    if result.halted is None and result.trials and not any(trial.scores for trial in result.trials):
        raise TrainingError(f"{identity.search_id}: every trial failed; {_first_error(result)}")
    return result


def _job(spec: SearchSpec, dataset: str, folder: Path, train_function: TrainFunction) -> TrialJob:
    objective = spec.file.objective
    asked = {*objective.metrics, *(constraint.metric for constraint in spec.constraints)}
    return TrialJob(
        default=spec.default,
        dataset=dataset,
        validation=Validation(objective.split, objective.windows),
        metric=objective.metric,
        threads=spec.file.resources.cpus,
        processes=spec.file.resources.ranks,
        gpus=spec.file.resources.gpus,
        parallel_folder=str((folder / PARALLEL_FOLDER).absolute()),
        constraints=spec.constraints,
        wanted=frozenset(asked & {*BEFORE, *AFTER}),
        train=train_function,
    )


@dataclasses.dataclass
class _Search:
    """One session of a search."""

    spec: SearchSpec
    job: TrialJob
    folder: Path
    identity: Identity
    display: Display
    earlier: list[Earlier]
    refresher: Refresher | None

    def run(self) -> SearchResult:
        halt = Halt(self.spec.file.budget.same_failures)
        with ExitStack() as stack:
            stack.enter_context(self.display)
            stack.enter_context(halt.on_signals())
            self.display.say(f"search {self.identity.search_id}, results in {self.folder}; starting Ray")
            stack.enter_context(ray_running(self.folder / LOG_FILE))
            study = Study.resume(self.folder, self.spec, self.identity.search_id)
            if concurrency(self.spec.file.resources) == 0:
                self.display.say(
                    f"no node has room for a trial, which needs {needs(self.spec.file.resources)}; waiting"
                )
            # Before anything is asked of a worker: others give way to a search that they know of.
            workers = stack.enter_context(room(self.spec.file.resources, self.identity.search_id))
            if study.trials():
                default = self.spec.default.with_leaves(study.default, self.identity.search_id)
            else:
                default = settled(self.spec.default, self.spec.file.resources, halt.stop_all)
                study.set_default(default.leaves())
            self.spec = dataclasses.replace(self.spec, default=default)
            self.job = dataclasses.replace(self.job, default=default)
            return self._record(study, halt, workers)

    def _record(self, study: Study, halt: Halt, workers: Room) -> SearchResult:
        scheduler = scheduler_of(self.spec)
        ledger = Ledger(self.spec, study.clock_s)
        observations = [one for earlier in self.earlier for one in earlier.observations]
        for earlier in self.earlier:
            self.display.say(earlier.told)
        heirs = CopiedFiles(self.spec, self.folder)
        heirs.clear(study.trials())
        engine = engine_of(self.spec, study, scheduler, ledger, workers(), observations, heirs)
        self.display.say(plan(self.spec, scheduler, workers(), begun=len(study.trials())))
        tracker = Tracker.begin(self.spec, study, self.folder, self.identity, self.display.say)
        self.display.restore(study.trials())
        progress = Progress(self.spec, study, scheduler, ledger, workers, self.display.say)
        meter = Meter(self.spec.file.budget.prices, self.spec.file.resources)
        listeners: list[Listener] = [workers, tracker, self.display, progress]
        if self.refresher is not None:
            listeners.append(self.refresher)
        events = TrialEvents(engine, study, halt, meter, self.folder, listeners)
        try:
            self._tune(StudySearcher(engine, self.folder.absolute(), workers), events, halt, workers)
        except BaseException:
            halt.reason = halt.reason or "the search itself failed"
            raise
        finally:
            events.close()
            study.tick(ledger.session_s)
            result = SearchResult(self.identity.search_id, self.folder, self.spec, list(study.trials()), halt.reason)
            result.write_winner()
            write_front(result)
            result.write_summary()
            notes = self._report(result)
            tracker.finish(result)
            result = dataclasses.replace(result, notes=(*tracker.notes, *notes))
            result.write_summary()
        return result

    def _report(self, result: SearchResult) -> list[str]:
        """Write the last report; what did not go as it should."""
        if self.refresher is None:
            return []
        if result.halted == INTERRUPTED:  # nobody should have to wait, and the command writes it at any time
            self.refresher.stop()
            return []
        self.display.say("writing the report")
        why = self.refresher.finish(examined=result.halted is None)
        return [] if why is None else [why]

    def _tune(self, searcher: StudySearcher, events: TrialEvents, halt: Halt, workers: Room) -> None:
        # Ray's own snapshots are of no use here, and cost more the longer a search is.
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(MANY)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(workers(), 1))  # started side by side; the searcher counts
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(run_trial, job=self.job), of_the_trial(self.spec.file.resources)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=RayScheduler(events.take, workers.is_shared),
                num_samples=MANY,
                reuse_actors=True,  # a fresh worker costs 3 to 4 s of imports a trial
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=TRIALS_FOLDER,
                storage_path=str(self.folder.absolute()),
                callbacks=[events],
                stop=halt,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        tuner.fit()


def _trial_name(trial: tune.experiment.Trial) -> str:
    return leg_name(trial.config["number"], trial.config["leg"])


def _display(terminal: Terminal, spec: SearchSpec, on_stderr: bool) -> Display:
    return Display(terminal.stderr if on_stderr else terminal.stdout, spec)


def _first_error(result: SearchResult) -> str:
    errors = [trial.error for trial in result.trials if trial.state is not TrialState.COMPLETE and trial.error]
    return f"the first error: {errors[0]}" if errors else "see its log"
