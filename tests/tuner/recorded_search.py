"""A search as a driver would tell it to a recorder, for tests."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tuner.recording_store import Store, Told
from tuner.recording.facts import Checkpoint, RunFacts, SearchEnd, SearchFacts
from tuner.recording.notes import NOTE
from tuner.recording.recorder import Recorder

EPOCHS = 3
PARAMS = {f"leaf{number}": number for number in range(150)}  # more than one request takes


def search_facts(**changed: Any) -> SearchFacts:
    return SearchFacts("mine-1", "somewhere", {"budget.trials": 4, **changed}, Path("spec.yaml"), "abc")


def trial(number: int, state: str = "running", **facts: Any) -> RunFacts:
    return RunFacts(number, f"{number:04d}", {**PARAMS, "box": number}, state, **facts)


def value(number: int, epoch: int) -> float:
    return number + epoch / 3


def live(recorder: Recorder, number: int, state: str = "complete", epochs: int = EPOCHS, **facts: Any) -> None:
    """A trial's life, as the driver tells it."""
    recorder.started(trial(number, **facts))
    for epoch in range(1, epochs + 1):
        so_far = trial(number, **reached(number, epoch), **facts)
        recorder.reported(so_far, {"epoch": epoch, "map": value(number, epoch), "loss": float("nan"), "best": 1})
    recorder.ended(trial(number, state, **reached(number, epochs), **facts))


def reached(number: int, epoch: int) -> dict[str, Any]:
    """What is known of a trial after an epoch: each is better than the one before."""
    return {"scores": {"map": value(number, epoch)}, "best_epoch": epoch, "last_epoch": epoch}


def end(folder: Path, **facts: Any) -> SearchEnd:
    best = facts.pop("best", trial(1, "complete", scores={"map": 2.0}, best_epoch=3, last_epoch=3))
    return SearchEnd(counts={"complete": 2, "out of memory": 1}, best=best, **facts)


def new_search(folder: Path) -> Path:
    """The folder of a search, with files whose text is their name's."""
    folder.mkdir()
    for name in ("spec.yaml", "best.yaml", "w0", "w1", "w2"):
        (folder / name).write_text(f"this is {name}")
    return folder


def raising(error: Callable[[], BaseException], when: Callable[[int], bool]) -> Told:
    """For a store's `before` or `after`: raises at the calls with these numbers, from 0."""
    calls = itertools.count()

    def called(_name: str, _arguments: Any) -> None:
        if when(next(calls)):
            raise error()

    return called


def record_all(folder: Path, say: Callable[[str], None] = lambda _: None, timeout_s: float = 20) -> tuple[str, ...]:
    """A search of four trials, the last of which repeats the second."""
    recorder = Recorder.begin(folder, search_facts(), say)
    live(recorder, 0)
    live(recorder, 1, "stopped", diagnosis="dead")
    live(recorder, 2, "out of memory", error="no room")
    live(recorder, 3, repeats=1, seed=7)
    weights = [Checkpoint(number, folder / f"w{number}") for number in (1, 2, 0)]
    return recorder.finish(
        end(folder, best_values={"box": 1}, checkpoints=weights, files=[Path("best.yaml")], config=Path("best.yaml")),
        timeout_s,
    )


def essence(store: Store) -> dict[str, Any]:
    """All that a store holds but times and its own ids."""
    told = {}
    names = {run_id: run.tags.get("trial", "search") for run_id, run in store.runs.items()}
    for key, run in store.by_trial().items():
        above = run.tags.get("mlflow.parentRunId")
        tags = {name: tag for name, tag in run.tags.items() if name not in ("mlflow.parentRunId", "search_folder")}
        for run_id, name in names.items():
            tags[NOTE] = tags[NOTE].replace(f"/runs/{run_id}", f"/runs/{name}")
        tags[NOTE] = tags[NOTE].replace(run.tags.get("search_folder", "\0"), "FOLDER")
        metrics = sorted((name, step, str(number)) for name, number, _, step in run.metrics)
        parent = None if above is None else store.runs[above].tags.get("trial", "search")
        told[key] = (run.name, run.status, parent, tags, run.params, metrics, run.files)
    return told
