"""The descriptions of runs, in Markdown: what a search came to, and what became of a trial.

`(run:7)` links to the run of trial 7, `(run:7/artifacts/FILE)` to a file of it, `(run:search)` to the search's own and
`(view)` to the table of its trials: the writer knows where these are.
"""

from collections.abc import Iterator
from pathlib import Path

from tuner.recording.facts import DEFAULT_TRIAL, RunFacts, SearchEnd, SearchFacts
from tuner.search_folder import REPORT_FILE
from tuner.wording import metric_told, settings_told, short_value

NOTE = "mlflow.note.content"  # the tag that MLflow shows as a run's description
_BREAK = "  \n"


def titled(search_id: str, end: SearchEnd) -> str:
    """The name of a search's run: its id and what it came to."""
    if end.best is None or end.objective not in end.best.scores:
        return search_id
    return f"{search_id} {metric_told(end.objective)} {end.best.scores[end.objective]:.4g}"


def running_note(facts: SearchFacts) -> str:
    """Of a search that has no answer yet."""
    return (
        f"**Running** on `{facts.dataset}`: the answer stands here once it ends.{_BREAK}"
        f"[Its trials, best first](view), by `best_{facts.objective}`, which grows while they train; "
        f"[the report so far](run:search/artifacts/{REPORT_FILE}), after the first minutes"
    )


def search_note(facts: SearchFacts, folder: Path, end: SearchEnd) -> str:
    """The answer in three lines, where to look, the next best, and how to go on."""
    parts = [_BREAK.join(_answer(end)), _places(folder, end)]
    if end.others:
        parts += ["The next best:", "\n".join(f"- {_line(trial)}" for trial in end.others)]
    parts += ["How to go on:", "```\n" + "\n".join(_commands(facts, folder, end)) + "\n```"]
    return "\n\n".join(parts)


def trial_note(trial: RunFacts, *, won: bool = False) -> str:
    """What a trial reached, how it ended, its settings against the default's, and its diagnosis."""
    first = _scores(trial)
    ending = trial.ending()
    lines = [" ".join(part for part in (f"{first}." if first else "", _sentence(ending)) if part)]
    if won:
        lines.append(
            f"**The search's winner**: [best.yaml](run:{trial.number}/artifacts/best.yaml) is its configuration"
        )
    if trial.number == DEFAULT_TRIAL:
        lines.append("This is the default configuration, with which all trials are compared")
    if trial.repeats is not None:
        lines.append(f"This repeats [trial {trial.repeats}](run:{trial.repeats}) with seed {trial.seed}")
    parts = [_BREAK.join(line for line in lines if line)]
    if trial.settings:
        parts.append("\n".join(_setting(leaf, *values) for leaf, values in trial.settings.items()))
    if trial.diagnosis is not None:
        parts.append(f"Diagnosis: {trial.diagnosis}")
    return "\n\n".join(part for part in [*parts, "Of [this search](run:search)"] if part)


def _answer(end: SearchEnd) -> Iterator[str]:
    if end.halted is not None:
        yield f"**Ended early:** {end.halted}"
    if end.best is None:
        yield "**No trial came to a score**"
    else:
        settings = settings_told(end.best_values)
        told = f"`{settings}`" if settings else "the default configuration"
        yield f"**Best: [trial {end.best.number}](run:{end.best.number})**, {_scores(end.best)}: {told}"
        yield "**Against the default:** " + _against(end)
    trials = ", ".join(f"{count} {state}" for state, count in end.counts.items() if count)
    money = f", {end.cost:.2f} paid" if end.cost else ""
    hours = f"{end.busy_s / 3600:.1f} hours" if end.busy_s >= 3600 else f"{end.busy_s / 60:.0f} minutes"
    yield f"**Cost:** {sum(end.counts.values())} trials ({trials}), {end.epochs} epochs, {hours} of workers{money}"


def _against(end: SearchEnd) -> str:
    name, best, default = end.objective, end.best, end.default
    if best is None or default is None or name not in best.scores or name not in default.scores:
        return "it has no score"
    mine, other = best.scores[name], default.scores[name]
    seeds = "; ".join(end.sure) or "one seed each"
    return f"{mine - other:+.4f} {metric_told(name)} over {other:.4f}; {seeds}"


def _places(folder: Path, end: SearchEnd) -> str:
    places = ["[All trials, best first](view)"]
    if (folder / REPORT_FILE).is_file():
        places.insert(0, f"[**Report**](run:search/artifacts/{REPORT_FILE})")
    if end.best is not None:
        places.append("[best.yaml](run:search/artifacts/best.yaml)")
    return " · ".join(places)


def _commands(facts: SearchFacts, folder: Path, end: SearchEnd) -> Iterator[str]:
    where = folder.absolute()
    if end.halted is not None:
        yield f"spiketune search {where / facts.spec_file} --data {facts.dataset} --out {where} --resume"
    if end.best is not None:
        yield f"spiketune report {where}"
        yield f"spiketune evaluate {where}/best.safetensors --data {facts.dataset}"
        yield f"spiketune train --config {where}/best.yaml --data {facts.dataset} --out FOLDER"
        yield f"spiketune promote {where}"


def _line(trial: RunFacts) -> str:
    settings = trial.tags().get("settings")
    return f"[trial {trial.number}](run:{trial.number}), {_scores(trial)}" + (f": `{settings}`" if settings else "")


def _setting(leaf: str, mine: object, default: object) -> str:
    return f"- `{leaf}` **{short_value(mine)}**, " + (
        "as the default" if mine == default else f"default {short_value(default)}"
    )


def _scores(trial: RunFacts) -> str:
    """`mAP 0.4065, mAP50 0.6393 in epoch 8`; empty without a score."""
    told = [f"{metric_told(name)} {value:.4g}" for name, value in trial.scores.items() if name != "map75"]
    return f"{', '.join(told)} in epoch {trial.best_epoch}" if told else ""


def _sentence(text: str | None) -> str:
    return "" if text is None else f"{text[0].upper()}{text[1:]}"
