"""What MLflow keeps of a challenger: its run, which the loser has too, and the version, which the winner alone has."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.dataset import Dataset
from data.manifest import Split
from data.storage import whole_text
from model.device import resolve_device
from tuner.costs import costs_after, costs_before
from tuner.intervals import mean_interval
from tuner.promotion.card import CardFacts, model_card
from tuner.promotion.challenger import Challenger, challenger_key
from tuner.promotion.looks import Look
from tuner.promotion.packaging import log_detector, package_versions
from tuner.promotion.registry import CHECKPOINTS, MEASURED, Registry
from tuner.promotion.state import Decision
from tuner.search_folder import SPEC_FILE
from tuner.spec.objective import AFTER, BEFORE

CARD = "README.md"
_KEPT = ("map", "map50", "map75")


@dataclass(frozen=True)
class ChallengerRun:
    """A challenger in MLflow; whatever is there already is left as it is."""

    registry: Registry
    challenger: Challenger
    dataset: Dataset
    search: Path  # folder
    folder: Path  # of the search's promotions

    def record(self, decision: Decision, seen: Sequence[Look], looks_of_search: int) -> str:
        """Write the run and close it, for only the registry is left to change; its id."""
        challenger, registry = self.challenger, self.registry
        tags = self._tags(decision, seen)
        with_val = " with val" if challenger.with_val else ""
        name = f"promotion of trial {challenger.trial:04d}{with_val}"
        run_id = registry.run_of(challenger.digest, name, challenger.search_id, tags)
        costs = {
            **costs_before(challenger.config, self.dataset, BEFORE),
            **costs_after(challenger.shipped.checkpoint, self.dataset, Split.VAL, AFTER),
        }
        registry.record(run_id, challenger.config.leaves(), _metrics(decision, seen, costs), tags)
        facts = CardFacts(
            name=registry.name,
            dataset=self.dataset,
            scores=[look.scores for look in seen],
            costs=costs,
            device=str(resolve_device("auto")),
            looks_of_search=looks_of_search,
            looks_of_model=registry.looks(self.dataset.digest),
            versions=package_versions(),
        )
        self._card.parent.mkdir(parents=True, exist_ok=True)
        whole_text(self._card, model_card(challenger, decision, facts))
        registry.upload(run_id, self._card)
        registry.upload(run_id, self.search / SPEC_FILE)
        if decision.better:
            files = {f"seed-{one.seed}.safetensors": one.checkpoint for one in challenger.trainings}
            registry.upload_as(run_id, files, CHECKPOINTS)
        registry.close(run_id)
        return run_id

    def version(self, decision: Decision, run_id: str) -> str:
        """The version of the registered model, made if it is not there."""
        known = self.registry.version_of(self.challenger.digest)
        if known is not None:
            return known
        challenger = self.challenger
        tags = {
            "challenger": challenger.digest,
            "search_id": challenger.search_id,
            "trial": str(challenger.trial),
            "with_val": str(challenger.with_val).lower(),
            "seeds": _seeds(challenger),
            "registered_seed": str(challenger.shipped.seed),
            "dataset_digest": challenger.dataset_digest,
            "spec_digest": challenger.spec_digest,
            "test_map": str(statistics.fmean(decision.values)),
            "test_map_values": str(list(decision.values)),
        }

        def log_model() -> str:
            return log_detector(challenger.shipped.checkpoint, self._card, self.dataset)

        return self.registry.register(run_id, log_model, tags, self._card.read_text(encoding="utf-8"))

    @property
    def _card(self) -> Path:
        # Not in the challenger's own folder, which a later --retrain wants empty.
        return self.folder / "cards" / challenger_key(self.challenger.trial, self.challenger.with_val) / CARD

    def _tags(self, decision: Decision, seen: Sequence[Look]) -> dict[str, str]:
        challenger = self.challenger
        return {
            "of_trial": str(challenger.trial),  # not `trial`, by which a search finds the runs of its own trials
            "dataset": self.dataset.location,
            "dataset_digest": challenger.dataset_digest,
            "spec_digest": challenger.spec_digest,
            "seeds": _seeds(challenger),
            "verdict": decision.verdict,
            "compared_with": decision.champion or "none",
            MEASURED: " ".join(look.sha256[:16] for look in seen),
        }


def _metrics(decision: Decision, seen: Sequence[Look], costs: Mapping[str, float]) -> dict[str, float]:
    values = decision.values
    found = {f"test_{key}": statistics.fmean(float(look.scores[key]) for look in seen) for key in _KEPT}
    bounds = mean_interval(values)
    if bounds is not None:
        found |= {"test_map_low": bounds[0], "test_map_high": bounds[1]}
    found |= {"trainings": float(len(values)), **costs}
    if decision.champion is not None:
        found["champion_test_map"] = statistics.fmean(decision.champion_values)
    known = {"difference": decision.difference, "p_value": decision.p_value}
    return found | {name: value for name, value in known.items() if value is not None}


def _seeds(challenger: Challenger) -> str:
    return " ".join(str(training.seed) for training in challenger.trainings)
