"""promote: a search's winner, trained again, measured once on test, and registered if it beats the champion."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from data.errors import DatasetError, InputError
from data.manifest import Split
from data.storage import sha256_of
from model.training.run import train
from tuner.intervals import mean_interval
from tuner.promotion.challenger import (
    Challenger,
    Training,
    challenger_key,
    chosen_trial,
    configured,
    own_training,
    repeats_of,
)
from tuner.promotion.challenger_run import ChallengerRun
from tuner.promotion.looks import Evaluate, Look, TestLooks, evaluate_on_test
from tuner.promotion.noise import compare
from tuner.promotion.registry import Champion, Registry
from tuner.promotion.retraining import Retraining
from tuner.promotion.state import ChallengerState, Decision
from tuner.result import SearchResult, read_result
from tuner.search_folder import SPEC_FILE, held, read_identity
from tuner.store import MODEL
from tuner.study.record import TrialRecord
from tuner.trial import TrainFunction

FOLDER = "promotion"
ALREADY = "champion already"


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    search: Path
    trial: int | None = None  # None: the winner
    retrain: bool = False
    with_val: bool = False
    seeds: int = 3
    data: str | None = None  # where the search's dataset lies now; None: where it lay
    name: str = MODEL
    progress_on_stderr: bool = False


@dataclass(frozen=True)
class Outcome:
    """What `--json` prints."""

    verdict: str
    decision: Decision
    search_id: str
    trial: int
    with_val: bool
    seeds: tuple[int, ...]
    version: str | None  # of the challenger, where it is champion
    run_id: str
    looks_of_search: int  # checkpoints of this search that were measured on test
    looks_of_model: int  # of the registered model's challengers

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        values = self.decision.values
        return {
            **asdict(self),
            "test_map": statistics.fmean(values),
            "test_map_interval": mean_interval(values),
        }


def promote(
    wish: Wish,
    say: Callable[[str], None],
    *,
    train_function: TrainFunction = train,
    evaluate: Evaluate = evaluate_on_test,
) -> Outcome:
    """Promote a trial of a search; each step is written down, and a later call goes on after the last one.

    Args:
        wish: what to promote, and how.
        say: hears of each step.
        train_function: what trains.
        evaluate: what measures a checkpoint on test.

    Raises:
        InputError: the search, the trial or the dataset do not allow it.
        TrainingError: the trainings came to nothing.
        SpiketuneError: MLflow does not answer.
    """
    result, identity = read_result(wish.search), read_identity(wish.search)
    dataset = Dataset.open(wish.data or identity.dataset)
    if dataset.digest != identity.digest:
        raise InputError(
            f"{dataset.location}: is not the dataset of the search, which was {identity.dataset}; give that with --data"
        )
    dataset.shards(Split.TEST)  # raises where there is nothing to measure on
    with held(wish.search):
        folder = wish.search / FOLDER
        return _Promotion(wish, result, dataset, Registry(wish.name), TestLooks(folder, evaluate), folder, say).run(
            train_function
        )


@dataclass(frozen=True)
class _Promotion:
    """One promotion, whose search's folder is held."""

    wish: Wish
    result: SearchResult
    dataset: Dataset
    registry: Registry
    looks: TestLooks
    folder: Path
    say: Callable[[str], None]

    def run(self, train_function: TrainFunction) -> Outcome:
        """Every step looks first whether an earlier process has done it; the alias moves last."""
        challenger = self._challenger(train_function)
        champion = self.registry.champion()
        if champion is not None and champion.tags.get("challenger") == challenger.digest:
            return self._already(challenger, champion)
        self._check_noise_can_be_told(champion, len(challenger.trainings))
        state = ChallengerState.read(self.folder / f"{challenger_key(challenger.trial, challenger.with_val)}.json")
        seen = [self._look(training.checkpoint, f"seed {training.seed}") for training in challenger.trainings]
        state.measured(challenger, seen)
        run = ChallengerRun(self.registry, challenger, self.dataset, self.result.folder, self.folder)
        while True:
            decision = state.decision(self.wish.name, challenger.digest, _version(champion))
            if decision is None:
                decision = self._decided(challenger, champion, [look.map for look in seen])
                state.decided(decision)
            run_id = run.record(decision, seen, self.looks.count)
            if not decision.better:
                return self._outcome(decision.verdict, challenger, decision, None, run_id)
            version = run.version(decision, run_id)
            now = self.registry.champion()
            if _version(now) == _version(champion):
                self.registry.crown(version)
                return self._outcome(decision.verdict, challenger, decision, version, run_id)
            champion = now  # another was promoted meanwhile

    def _challenger(self, train_function: TrainFunction) -> Challenger:
        record, with_val = chosen_trial(self.result, self.wish.trial), self.wish.with_val
        config = configured(record.config, with_val)
        folder = self.folder / challenger_key(record.number, with_val)
        again = Retraining(self.result.spec, config, record.number, folder, train_function)
        trainings = self._trainings(record, again)
        if not trainings and with_val:
            raise InputError(f"--with-val: nothing was trained on val yet for trial {record.number}; add --retrain")
        return Challenger(
            self.result.search_id,
            sha256_of(self.result.folder / SPEC_FILE)[:32],
            record.number,
            with_val,
            config,
            self.dataset.digest,
            # Its own training was chosen for being high: it speaks only where no other does.
            tuple(trainings) or (own_training(self.result, record),),
        )

    def _trainings(self, record: TrialRecord, again: Retraining) -> list[Training]:
        """Those with other seeds: the search's repeats, and what is trained anew."""
        wish = self.wish
        repeats = [] if wish.with_val else repeats_of(self.result, record.number)
        trainings = [*repeats, *again.done()]
        if not wish.retrain or len(trainings) >= wish.seeds:
            return trainings
        self._check_noise_can_be_told(self.registry.champion(), wish.seeds)
        there = len(trainings)
        self.say(f"trial {record.number}: {there} trainings with other seeds so far; training until {wish.seeds}")
        count, on_stderr = wish.seeds - len(repeats), wish.progress_on_stderr
        trainings = [*repeats, *again.run(self.dataset, count, progress_on_stderr=on_stderr)]
        if len(trainings) < wish.seeds:
            self.say(f"warning: {wish.seeds - len(trainings)} trainings came to nothing; see {again.folder}")
        return trainings

    def _check_noise_can_be_told(self, champion: Champion | None, trainings: int) -> None:
        """Refuse before anything is trained, or test is looked at."""
        if champion is not None and trainings < 2:
            raise InputError(
                f"{self.wish.name} has a champion (version {champion.version}), and one training cannot show a "
                "difference beyond noise; add --retrain with --seeds 2 or more"
            )

    def _look(self, checkpoint: Path, what: str) -> Look:
        before = self.looks.count
        look = self.looks.at(checkpoint, self.dataset)
        if not math.isfinite(look.map):
            raise DatasetError(f"{self.dataset.location}: test has no true box that counts, so nothing can be measured")
        seen = "measured" if self.looks.count > before else "was measured already"
        self.say(f"test: {what} {seen}, mAP {look.map:.4f}")
        return look

    def _decided(self, challenger: Challenger, champion: Champion | None, values: Sequence[float]) -> Decision:
        mine = (self.wish.name, challenger.digest)
        if champion is None:
            return Decision(*mine, None, tuple(values), (), None, None, None, better=True)
        theirs = self._values_of(champion)
        found = compare(values, theirs)
        p_value = None if math.isnan(found.p_value) else found.p_value
        return Decision(
            *mine, champion.version, tuple(values), tuple(theirs), found.difference, p_value, found.test, found.better
        )

    def _values_of(self, champion: Champion) -> list[float]:
        """What the champion is worth on this test set; measured here if nobody has."""
        known = champion.values_on(self.dataset.digest)
        if known is not None:
            return known
        told = f"{self.wish.name} version {champion.version}"
        self.say(f"{told} was measured on another test set; measuring it on this one")
        files = self.registry.checkpoints_of(champion, self.folder / f"{self.wish.name}-{champion.version}")
        try:
            values = [self._look(file, f"champion's {file.stem}").map for file in files]
        except DatasetError as error:
            raise DatasetError(f"{told} cannot be measured here ({error}); register under another --name") from None
        self.registry.measured_elsewhere(champion, self.dataset.digest, values)
        return values

    def _already(self, challenger: Challenger, champion: Champion) -> Outcome:
        values = champion.values_on(challenger.dataset_digest) or []
        decision = Decision(
            self.wish.name, challenger.digest, champion.version, tuple(values), tuple(values), None, None, None, True
        )
        return self._outcome(ALREADY, challenger, decision, champion.version, champion.run_id)

    def _outcome(
        self, verdict: str, challenger: Challenger, decision: Decision, version: str | None, run_id: str
    ) -> Outcome:
        return Outcome(
            verdict=verdict,
            decision=decision,
            search_id=challenger.search_id,
            trial=challenger.trial,
            with_val=challenger.with_val,
            seeds=tuple(training.seed for training in challenger.trainings),
            version=version,
            run_id=run_id,
            looks_of_search=self.looks.count,
            looks_of_model=self.registry.looks(self.dataset.digest),
        )


def _version(champion: Champion | None) -> str | None:
    return None if champion is None else champion.version
