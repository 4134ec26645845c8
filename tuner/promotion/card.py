"""The model card: what a registered detector finds, what it is worth and costs, on which data, and where it ends."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.manifest import Split
from model.training.lessons import lesson_splits
from model.trial_config import TrialConfig
from tuner.intervals import mean_interval
from tuner.promotion.challenger import Challenger
from tuner.promotion.state import Decision

_UNKNOWN = "nothing there"


@dataclass(frozen=True)
class CardFacts:
    """What the card tells besides the challenger and what was decided."""

    name: str  # of the registered model
    dataset: Dataset
    scores: Sequence[Mapping[str, Any]]  # on test, of each training
    costs: Mapping[str, float]  # of the registered weights
    device: str  # that it was measured on
    looks_of_search: int
    looks_of_model: int
    versions: Mapping[str, str]


def model_card(challenger: Challenger, decision: Decision, facts: CardFacts) -> str:
    """The card as Markdown."""
    sections = (
        _head(facts),
        _worth(challenger, decision, facts),
        _costs(facts),
        _limits(challenger, facts),
        _data(challenger, facts),
        _training(challenger, facts),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _head(facts: CardFacts) -> list[str]:
    dataset = facts.dataset
    served = f'"models:/{facts.name}@champion"'
    return [
        f"# {facts.name}: a spiking detector for event cameras",
        "",
        f"Finds {_listed(dataset.label_set.classes)} in recordings of an event camera of "
        f"{dataset.size.width}x{dataset.size.height} pixels, and follows them as tracks.",
        "",
        "```python",
        "import mlflow, pandas",
        f"detector = mlflow.pyfunc.load_model({served})",
        'file = pandas.DataFrame({"events": [open("drive.raw", "rb").read()], "suffix": [".raw"]})',
        "boxes = detector.predict(file)",
        'boxes = detector.predict({"t": t_us, "x": x, "y": y, "p": p}, params={"least_score": 0.5})',
        "```",
        "",
        "It answers with a row for each box: `t_us`, `x`, `y`, `w`, `h` in sensor px, `class`, `score`, `track` (0: "
        f"in none). Over HTTP: `mlflow models serve -m {served}`, with the file's bytes in base64.",
    ]


def _worth(challenger: Challenger, decision: Decision, facts: CardFacts) -> list[str]:
    scores = facts.scores
    lines = [
        "## What it is worth",
        "",
        f"Measured once on the test recordings, over {_count(len(scores), 'training')} with seeds "
        f"{_listed([str(training.seed) for training in challenger.trainings])}; registered are the weights of seed "
        f"{challenger.shipped.seed}, {'the first' if challenger.with_val else 'the best on val'}.",
        "",
        "| on test | mean | 95 % interval of the mean | each training |",
        "|---|---|---|---|",
    ]
    for title, key in (("mAP", "map"), ("mAP50", "map50"), ("mAP75", "map75")):
        values = [float(score[key]) for score in scores]
        each = ", ".join(f"{value:.4f}" for value in values)
        lines.append(f"| {title} | {statistics.fmean(values):.4f} | {_range(mean_interval(values))} | {each} |")
    lines += ["", "| part | mAP | mAP50 |", "|---|---|---|"]
    for part in ("day", "night"):
        lines.append(f"| by {part} | {_mean(scores, part, 'map')} | {_mean(scores, part, 'map50')} |")
    for name in facts.dataset.label_set.classes:
        classes = [score["per_class"] for score in scores]
        lines.append(f"| {name} | {_mean(classes, name, 'ap')} | {_mean(classes, name, 'ap50')} |")
    lines += [
        "",
        compared(decision),
        f"On the test recordings {_count(facts.looks_of_search, 'checkpoint')} of this search and "
        f"{facts.looks_of_model} of this model's challengers have been measured; the more, the less the best says.",
    ]
    return lines


def compared(decision: Decision) -> str:
    """A sentence on what the challenger was compared with."""
    if decision.champion is None:
        return "It is the first champion: there was none to beat."
    theirs = ", ".join(f"{value:.4f}" for value in decision.champion_values)
    p_value = "no training differs from another" if decision.p_value is None else f"p = {decision.p_value:.4f}"
    return (
        f"Against version {decision.champion} ({theirs} on the same recordings): {decision.difference:+.4f} mAP, "
        f"{p_value} ({decision.test})."
    )


def _costs(facts: CardFacts) -> list[str]:
    costs = facts.costs
    return [
        "## What it costs",
        "",
        f"- {costs['parameters']:,.0f} parameters, {costs['macs'] / 1e6:,.1f} M multiply-accumulates a window as a "
        "network without spikes would do",
        f"- {costs['energy_uj']:,.2f} µJ a window by operation counts at 45 nm (4.6 pJ a multiply-accumulate, 0.9 pJ "
        f"an addition), {costs['synops'] / 1e6:,.2f} M additions, {costs['firing_rate']:.3f} spikes a neuron and step",
        f"- {costs['latency_ms']:,.1f} ms a window (median, one window at a time) on {facts.device}",
    ]


def _limits(challenger: Challenger, facts: CardFacts) -> list[str]:
    dataset, splits = facts.dataset, lesson_splits(challenger.config.training)
    taught = np.sum([dataset.class_counts(split) for split in splits], axis=0)
    tested = dataset.class_counts(Split.TEST)
    lines = [
        "## Limits",
        "",
        f"- For sensors of {dataset.size.width}x{dataset.size.height} pixels and recordings like those it was trained "
        "on. If those were simulated (`spiketune simulate`), its numbers say nothing of a real camera.",
    ]
    for counts, told in (
        (taught, "Never seen in training"),
        (tested, "Without a box in test, so never measured"),
    ):
        missing = [name for name, count in zip(dataset.label_set.classes, counts, strict=True) if not count]
        if missing:
            lines.append(f"- {told}: {_listed(missing)}.")
    if facts.device == "cpu":
        lines.append("- Measured on a CPU; here it never ran on a GPU or on neuromorphic hardware.")
    if challenger.with_val:
        lines.append("- Trained on val too, so that its numbers on val mean nothing.")
    if len(facts.scores) < 2:
        lines.append("- A single training: how far its numbers would differ with another seed is not known.")
    return [
        *lines,
        "",
        "Licence: the code is under Apache-2.0. What the licence of the recordings says of weights trained on them is "
        "for you to check.",
    ]


def _data(challenger: Challenger, facts: CardFacts) -> list[str]:
    dataset = facts.dataset
    lines = [
        "## Data",
        "",
        f"Label set {dataset.label_set.name}; digest `{dataset.digest}`; trained on "
        f"{_listed([split.value for split in lesson_splits(challenger.config.training)])}.",
        "",
        "| split | recordings | seconds | events | boxes |",
        "|---|---|---|---|---|",
    ]
    for split in dataset.splits():
        entries = [shard.entry for shard in dataset.shards(split)]
        seconds = sum(entry.last_us - entry.first_us for entry in entries) / 1e6
        events, boxes = sum(entry.events for entry in entries), sum(entry.boxes for entry in entries)
        lines.append(f"| {split.value} | {len(entries)} | {seconds:,.1f} | {events:,} | {boxes:,} |")
    return lines


def _training(challenger: Challenger, facts: CardFacts) -> list[str]:
    mine, usual = challenger.config.leaves(), TrialConfig().leaves()
    changed = [f"| {leaf} | {value} |" for leaf, value in mine.items() if value != usual[leaf]]
    return [
        "## How it was trained",
        "",
        f"Search {challenger.search_id}, trial {challenger.trial}, with {_versions(facts.versions)}. Settings that "
        "differ from the defaults:",
        "",
        "| setting | value |",
        "|---|---|",
        *changed,
    ]


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _mean(parts: Sequence[Mapping[str, Any]], name: str, key: str) -> str:
    values = [float(part[name][key]) for part in parts if part.get(name)]
    return f"{statistics.fmean(values):.4f}" if values else _UNKNOWN


def _range(bounds: tuple[float, float] | None) -> str:
    return "unknown" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
