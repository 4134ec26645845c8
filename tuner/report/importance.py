"""Which parameters decided, measured by fANOVA on trials that had all been trained for as long."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
import plotly.graph_objects as go
from markupsafe import Markup
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from tuner.history import SearchHistory
from tuner.report.axes import fixed
from tuner.report.reading import ENOUGH, Read, Reading, readings
from tuner.report.section import Section, figure_html, nothing, paragraph
from tuner.report.view import first_quantity, plain, shared_settings
from tuner.samplers.mirror import distribution
from tuner.space import Branch, Space

ANCHOR, TITLE = "importance", "What mattered"
_COLOURS = ("#2f80d0", "#e08a2c", "#3aa17e")
_TREES, _DEPTH = 32, 6  # what it takes grows with the square of the leaves, whatever the number of trials


@dataclass(frozen=True)
class Importance:
    """A parameter's share of the differences between trials."""

    branch: Branch
    share: float  # 0 to 1, of the variance among the trials for which the branch holds
    trials: int


def importances(space: Space, reading: Reading) -> list[Importance]:
    """The shares at one epoch, largest first; of parameters for which enough trials tell something.

    A parameter that only holds under a condition is judged among the trials that fulfil it, beside the unconditional
    ones; its share is of the variance among these.
    """
    found = []
    always = [branch for branch in space.branches if not branch.when]
    for condition in dict.fromkeys(tuple(branch.when.items()) for branch in space.branches):
        group = [branch for branch in space.branches if tuple(branch.when.items()) == condition]
        judged = always if not condition else [*always, *group]
        judged = [branch for branch in judged if not fixed(branch)]
        reads = [read for read in reading.reads if all(branch.name in read.settings for branch in judged)]
        if len(reads) >= ENOUGH:
            shares = _fanova(judged, reads)
            found += [Importance(branch, shares[branch.name], len(reads)) for branch in group if branch.name in shares]
    return sorted(found, key=lambda one: -one.share)


def importances_by_epoch(history: SearchHistory) -> dict[int, list[Importance]]:
    """The shares at up to three epochs that enough trials have reached, the latest first."""
    found = {one.epoch: importances(history.result.spec.space, one) for one in readings(history)}
    return {epoch: shares for epoch, shares in found.items() if shares}


def importance_section(history: SearchHistory, found: Mapping[int, list[Importance]]) -> Section:
    """Shares of the parameters, by epoch."""
    space = history.result.spec.space
    if not found:
        return Section(ANCHOR, TITLE, nothing(_too_few(history)))
    told = ", ".join(f"{max(one.trials for one in shares)} trials at epoch {epoch}" for epoch, shares in found.items())
    says = (
        f"Share of the differences in {first_quantity(history.result).title} that each parameter explains "
        f"by itself (fANOVA), each colour at one epoch that all of its trials had reached: {told}."
    )
    html = figure_html(_figure(found, space), says)
    conditional = [branch for branch in space.branches if branch.when]
    if conditional:
        html += paragraph(
            "A parameter with a condition in brackets was judged among the trials that fulfil it, and its share is of "
            f"the differences among these. {_left_out(found, conditional)}"
        )
    later = min((max(one.trials for one in shares) for shares in found.values()), default=0)
    if len(found) > 1 and later < 3 * ENOUGH:
        html += paragraph("Later epochs rest on fewer trials, and on those that were good enough to get there.")
    return Section(ANCHOR, TITLE, Markup(html))  # noqa: S704 - markup already


def _fanova(branches: Sequence[Branch], reads: Sequence[Read]) -> dict[str, float]:
    """The share of each parameter by its name; nothing where all trials are equal."""
    if len({read.value for read in reads}) < 2:
        return {}
    domains = {branch.name: distribution(branch.domain) for branch in branches}
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    study.add_trials(
        [
            create_trial(
                state=TrialState.COMPLETE,
                value=read.value,
                params={name: read.settings[name] for name in domains},
                distributions=domains,
            )
            for read in reads
        ]
    )
    evaluator = FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `normalize`
        shares = get_param_importances(study, evaluator=evaluator, normalize=False)
    return {name: float(share) for name, share in shares.items() if math.isfinite(share)}


def _too_few(history: SearchHistory) -> str:
    most = max((len(reading.reads) for reading in readings(history, 1)), default=0)
    if most >= ENOUGH:
        return (
            "All trials were worth the same at the epochs that enough of them reached: nothing can be told to matter."
        )
    return (
        f"Too few trials: no epoch was reached by {ENOUGH} of them (at most {most}), and values of trials that were "
        "trained for different times are not mixed."
    )


def _left_out(found: Mapping[int, list[Importance]], conditional: Sequence[Branch]) -> str:
    judged = {one.branch.name for shares in found.values() for one in shares}
    missing = [branch.name for branch in conditional if branch.name not in judged and not fixed(branch)]
    return f"Too few trials (below {ENOUGH}) for {', '.join(missing)}." if missing else ""


def labels(space: Space) -> dict[str, str]:
    """What each branch of the space is called in figures: its leaf's short name, and its condition."""
    short = shared_settings(space.leaves)
    told = {}
    for branch in space.branches:
        rules = ", ".join(f"{short.get(leaf, leaf)}={'|'.join(map(str, v))}" for leaf, v in branch.when.items())
        told[branch.name] = plain(f"{short[branch.leaf]} [{rules}]" if rules else short[branch.leaf])
    return told


def _figure(found: Mapping[int, list[Importance]], space: Space) -> go.Figure:
    named = labels(space)
    first = [one.branch.name for shares in found.values() for one in shares]
    order = list(dict.fromkeys(first))
    figure = go.Figure()
    for (epoch, shares), colour in zip(found.items(), _COLOURS, strict=False):
        figure.add_bar(
            orientation="h",
            name=f"epoch {epoch}",
            x=[round(100 * one.share, 2) for one in shares],
            y=[named[one.branch.name] for one in shares],
            marker={"color": colour},
            text=[f"{one.trials} trials" for one in shares],
            textposition="none",
            hovertemplate="%{y}: %{x:.1f} % at " + f"epoch {epoch}" + ", %{text}<extra></extra>",
        )
    figure.update_layout(
        height=140 + len(order) * (18 + 12 * len(found)),
        barmode="group",
        xaxis={"title": {"text": "share of the differences (%)"}, "rangemode": "tozero"},
        yaxis={
            "categoryorder": "array",
            "categoryarray": [named[name] for name in reversed(order)],
            "type": "category",
        },
    )
    return figure
