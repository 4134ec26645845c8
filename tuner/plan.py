"""What a search is about to do, in words, and what it will take once its pace is known."""

from tuner.durations import duration
from tuner.ledger import Ledger
from tuner.schedulers.decision import Scheduler
from tuner.spec.search_spec import SearchSpec

ESTIMATE_AFTER = 3  # ended trials


def plan(spec: SearchSpec, scheduler: Scheduler, workers: int, *, begun: int = 0) -> str:
    """One line: trials, epochs, rungs, workers, and what else bounds the search."""
    file, budget = spec.file, spec.file.budget
    rungs = sorted({rung.epoch for rung in scheduler.rungs()})
    parts = [f"{budget.trials} trials of up to {budget.epochs} epochs"]
    if begun:
        parts[0] += f" ({begun} begun already)"
    if rungs:
        parts.append(f"{file.scheduler.name.value} with rungs at {', '.join(map(str, rungs))}")
    parts.append(f"{file.sampler.name.value} sampler, {workers} at a time")
    parts.append(f"at most {expected_epochs(spec, rungs):.0f} epochs")
    for name in ("total_epochs", "hours", "gpu_hours", "money"):
        limit = getattr(budget, name)
        if limit is not None:
            parts.append(f"{name} <= {limit:g}")
    if file.repeat is not None:
        parts.append(f"then the best {file.repeat.top} again with {file.repeat.seeds} seeds each")
    return f"plan: {'; '.join(parts)}"


def expected_epochs(spec: SearchSpec, rungs: list[int]) -> float:
    """Epochs that all trials take together if as many survive each rung as the scheduler lets.

    The default trial has its whole budget whatever it is worth.
    """
    budget, eta = spec.file.budget, spec.file.scheduler.thinning
    alive, before, total = float(budget.trials - 1), 0, float(budget.epochs)
    for rung in (*rungs, budget.epochs):
        total += alive * (rung - before)
        alive, before = alive / eta, rung
    repeat = spec.file.repeat
    return total + (repeat.top * repeat.seeds * budget.epochs if repeat is not None else 0)


def estimate(spec: SearchSpec, scheduler: Scheduler, ledger: Ledger, workers: int) -> str | None:
    """One line on what is left at the pace so far; None before there is one."""
    pace = ledger.epoch_s
    if pace is None:
        return None
    rungs = sorted({rung.epoch for rung in scheduler.rungs()})
    spent = ledger.spent
    left = max(expected_epochs(spec, rungs) - spent.epochs, 0.0)
    limit = spec.file.budget.total_epochs
    if limit is not None:
        left = min(left, max(limit - spent.epochs, 0))
    hours = left * pace / max(workers, 1) / 3600
    told = f"estimate: {pace:.1f} s an epoch; {left:.0f} epochs to come take about {duration(3600 * hours)}"
    gpus = spec.file.resources.gpus
    if gpus:
        told += f" and {left * pace * gpus / 3600:.1f} GPU hours"
    if spent.money and spent.epochs:
        told += f" and {left * spent.money / spent.epochs:.2f} money"
    return told
