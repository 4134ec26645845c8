"""The answer in three lines: which configuration, how sure, and what it has cost."""

import statistics

from markupsafe import Markup

from tuner.examination.examination import Examination
from tuner.history import SearchHistory
from tuner.intervals import mean_interval
from tuner.report.occupancy import occupancy
from tuner.report.section import Section, nothing
from tuner.report.view import first_quantity, quantity, title_of
from tuner.result import SearchResult
from tuner.study.record import LOST, UNFINISHED, TrialKind, TrialRecord
from tuner.wording import settings_told

ANCHOR, TITLE = "answer", "The answer"
_COSTS = ("energy_uj", "latency_ms", "parameters")


def answer_section(history: SearchHistory, examined: Examination) -> Section:
    """Three lines.

    Args:
        history: of the search.
        examined: the winner measured once more, or nothing.
    """
    result = history.result
    best = result.best
    if best is None:
        return Section(ANCHOR, TITLE, nothing("No trial has come to a value yet."))
    going = any(trial.state in UNFINISHED for trial in result.trials)
    lines = [
        ("Best so far" if going else "Best configuration", f"{title_of(result, best)}: {_settings(best)}"),
        ("How good, how sure", f"{_value(result, best, examined)} {_against_default(result, best, examined)}"),
        ("What it cost", _cost(history, best, examined)),
    ]
    html = Markup("").join(Markup("<li><b>{}</b> {}</li>").format(*line) for line in lines)
    return Section(ANCHOR, TITLE, Markup('<ul class="answer">{}</ul>').format(html))


def winner_repeats(result: SearchResult, best: TrialRecord) -> list[float]:
    """What the winner's repeats with other seeds came to, as reported."""
    ended = [t for t in result.trials if t.origin.repeats == best.number and t.state not in UNFINISHED]
    return [trial.values[0] for trial in ended if trial.best_epoch is not None]


def _settings(best: TrialRecord) -> str:
    return settings_told(best.sampled) if best.sampled else "the default configuration itself"


def _value(result: SearchResult, best: TrialRecord, examined: Examination) -> str:
    told = first_quantity(result)
    text = f"{told.label} {best.values[0]:.4g} at epoch {best.best_epoch}"
    if best.violation:
        text += f", though it breaks a constraint by {100 * best.violation:.3g} %"
    repeats = winner_repeats(result, best)
    if repeats:
        text += f"; trained {len(repeats)} times more with other seeds: mean {statistics.fmean(repeats):.4g}"
        seeds = mean_interval(repeats)
        if seeds is not None:
            text += f", 95 % interval {seeds[0]:.4g} to {seeds[1]:.4g} over seeds"
    interval = examined.map_interval
    if interval is not None:
        text += f"; 95 % interval of mAP over {examined.unit} {interval[0]:.4g} to {interval[1]:.4g}"
    if not repeats and interval is None:
        text += "; no interval is known, for it was neither repeated nor examined, and the best of many is partly luck"
    return f"{text}."


def _against_default(result: SearchResult, best: TrialRecord, examined: Examination) -> str:
    default = result.default
    if default is None:
        return "The default configuration has no value to compare with."
    if default is best:
        return "No trial was better than the default configuration."
    mine = winner_repeats(result, best)
    value = statistics.fmean(mine) if mine else best.values[0]
    difference = value - default.values[0]
    rests = "the repeats' mean" if mine else "it"
    text = f"The default configuration has {default.values[0]:.4g}; {rests} differs from that by {difference:+.4g}"
    interval = examined.difference_interval
    if interval is not None:
        # Repeats have checkpoints of their own, which are not drawn again: the interval is not of their mean.
        link = "; the kept checkpoint's own lead has" if mine else ", with"
        text += f"{link} a 95 % interval of mAP over {examined.unit} of {interval[0]:+.4g} to {interval[1]:+.4g}"
    return f"{text}."


def _cost(history: SearchHistory, best: TrialRecord, examined: Examination) -> str:
    result, trials = history.result, history.result.trials
    own = sum(trial.origin.kind is TrialKind.SEARCH for trial in trials)
    lost = sum(trial.state in LOST for trial in trials)
    busy_h = sum(trial.busy_s for trial in trials) / 3600
    parts = [
        f"{own} trials ({lost} without a value)" + (f" and {len(trials) - own} repeats" if own < len(trials) else ""),
        f"{sum(trial.epochs for trial in trials):,} epochs",
        f"{busy_h:.2f} h on workers",
    ]
    known = occupancy(history)
    if known is not None:
        parts.append(f"{known.span_s / 3600:.2f} h on the clock")
    gpus = result.spec.file.resources.gpus
    parts.append(f"{busy_h * gpus:.2f} GPU hours" if gpus else "no GPU")
    money = sum(trial.cost for trial in trials)
    if money:
        parts.append(f"{money:,.2f} in the currency of the prices")
    known_costs = {**examined.costs, **(best.metrics or {})}
    costs = [
        f"{quantity(name).title} {quantity(name).told(known_costs[name])}" for name in _COSTS if name in known_costs
    ]
    told = f" The winner itself: {', '.join(costs)}." if costs else " What the winner costs in use is not measured yet."
    return f"{', '.join(parts)}.{told}"
