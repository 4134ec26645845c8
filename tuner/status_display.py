"""How a search stands, for people."""

import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.durations import duration
from tuner.search_folder import SPEC_FILE
from tuner.status import Leader, Status
from tuner.wording import metric_told

_TOLD = 8  # trials of one failure


def show_status(
    console: Console, status: Status, clock: Callable[[], float] = time.time, go_on: str | None = None
) -> None:
    """Print it; `go_on` is the command that goes on with a search, where it is not the usual one."""
    for line in _lines(status, clock(), go_on):
        console.print(line, markup=False, soft_wrap=True)
    if status.underway:
        console.print(_underway(status, clock()))
    for failure in status.failures:
        numbers = ", ".join(map(str, failure.trials[:_TOLD])) + (", ..." if len(failure.trials) > _TOLD else "")
        count = len(failure.trials)
        told = f"{failure.state.value}: {count} trial{'s' * (count > 1)} ({numbers}): {failure.error}"
        console.print(f"[red]{escape(told)}[/]", soft_wrap=True)


def _lines(status: Status, now_s: float, go_on: str | None) -> Iterator[str]:
    yield f"{status.search_id}: {_state(status, now_s)}"
    states = ", ".join(f"{count} {state}" for state, count in status.states.items() if count)
    to_come = max(status.trials_budget - status.trials_begun, 0)
    more = f", {to_come} to come" if to_come and not status.finished else ""
    yield f"trials  {status.trials_begun} of {status.trials_budget} begun: {states or 'none'}{more}"
    left = f", about {status.epochs_left:.0f} to come" if status.epochs_left else ""
    limit = f" of {status.limits['total_epochs']:g}" if "total_epochs" in status.limits else ""
    yield f"epochs  {status.epochs_done}{limit} done{left}"
    yield f"best    {_best(status)}"
    spent = f"spent   {_of(duration(3600 * status.hours), status.limits.get('hours'), ' h')} on the clock"
    if status.gpu_hours:
        spent += f", {_of(f'{status.gpu_hours:.1f}', status.limits.get('gpu_hours'))} GPU hours"
    if status.money:
        spent += f", {_of(f'{status.money:.2f}', status.limits.get('money'))} money"
    yield spent
    if status.left_s is not None:
        yield f"left    about {duration(status.left_s)}, at the pace of this session"
    if status.lost_workers:
        yield f"faults  {status.lost_workers} workers were lost, or stopped with their search; others went on"
    if status.records_waiting:
        how = "" if status.running else f"; spiketune sync {status.folder}"
        yield f"MLflow  {status.records_waiting} records wait to be written{how}"
    if not (status.running or status.finished):
        spec = f"{status.folder}/{SPEC_FILE}"
        usual = f"spiketune search {spec} --data {status.dataset} --out {status.folder} --resume"
        yield f"go on   {go_on or usual}"


def _state(status: Status, now_s: float) -> str:
    if status.since_s is not None:
        return f"running since {_at(status.since_s)} ({duration(max(now_s - status.since_s, 0))})"
    last = "" if status.last_s is None else f"; last heard of at {_at(status.last_s)}"
    if status.finished:
        return f"finished{last}"
    return f"not running, {status.halted or 'though not finished'}{last}"


def _best(status: Status) -> str:
    if status.best is None:
        return "no trial has come to a value yet"
    told = (
        f"{metric_told(status.objective)} {_value(status.best)} (trial {status.best.number}, epoch {status.best.epoch})"
    )
    if status.default is None:
        return told
    if status.default.number == status.best.number:
        return f"{told}, the default configuration"
    return f"{told}; default {_value(status.default)} (epoch {status.default.epoch})"


def _value(leader: Leader) -> str:
    return f"{leader.value:.4g}"


def _underway(status: Status, now_s: float) -> Table:
    table = Table(title="on workers", title_justify="left", title_style="")
    for column in ("trial", "epoch", metric_told(status.objective), "node", "worker since"):
        table.add_column(column, justify="left" if column == "node" else "right")
    for one in status.underway:
        since = "" if one.begun_s is None else duration(max(now_s - one.begun_s, 0))
        value = "" if one.value is None else f"{one.value:.4f}"
        node = escape(one.node) if one.node else "starting"
        table.add_row(str(one.number), f"{one.after_epoch}/{one.epochs}", value, node, since)
    return table


def _of(spent: str, limit: float | None, unit: str = "") -> str:
    return spent if limit is None else f"{spent} of {limit:g}{unit}"


def _at(unix_s: float) -> str:
    """In local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))
