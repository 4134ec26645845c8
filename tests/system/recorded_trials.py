"""A driver without a search: tells a recorder the lives of thirty trials, and can be killed at any moment.

Run as `python -m tests.system.recorded_trials FOLDER`; it tells as many steps as the file `limit` says, and, started
again, goes on with what it was telling last.
"""

import json
import sys
import time
from pathlib import Path

from tuner.recording.facts import Checkpoint, RunFacts, SearchEnd, SearchFacts
from tuner.recording.recorder import Recorder

TRIALS, EPOCHS = 30, 4
REPEATS = {28: 3, 29: 3}
SEARCH_ID = "outage-1"
STEP_S = 0.05


def state(number: int) -> str:
    """How a trial ends."""
    return ("complete", "stopped", "diverged")[number % 3]


def epochs(number: int) -> int:
    """The last epoch a trial reports."""
    return EPOCHS if number % 3 == 0 else 2


def value(number: int, epoch: int) -> float:
    """What it reports there."""
    return number / 7 + epoch / 3


STEPS = sum(epochs(number) + 2 for number in range(TRIALS))


def _facts(number: int, epoch: int, *, ended: bool = False) -> RunFacts:
    return RunFacts(
        number,
        f"{number:04d}",
        {"loss.box": number, "training.epochs": EPOCHS},
        state(number) if ended else "running",
        repeats=REPEATS.get(number),
        scores={"map": value(number, epoch)} if epoch else {},
        best_epoch=epoch or None,
        last_epoch=epoch,
    )


def _tell(recorder: Recorder, number: int, step: int) -> None:
    if step == 0:
        recorder.started(_facts(number, 0))
    elif step <= epochs(number):
        metrics = {"epoch": step, "map": value(number, step), "loss": 1 / step}
        recorder.reported(_facts(number, step), metrics)
    else:
        recorder.ended(_facts(number, epochs(number), ended=True))


def main(folder: Path) -> None:
    progress = folder / "progress"
    done = json.loads(progress.read_text()) if progress.exists() else 0
    recorder = Recorder.begin(folder, SearchFacts(SEARCH_ID, "here", {"budget": TRIALS}, Path("spec.yaml")), print)
    ids: dict[int, str] = {}
    steps = [(number, step) for number in range(TRIALS) for step in range(epochs(number) + 2)]
    assert len(steps) == STEPS
    for number, step in steps[done:]:
        _tell(recorder, number, step)
        ids |= recorder.run_ids()
        done += 1
        part = progress.with_suffix(".part")
        part.write_text(json.dumps(done))
        part.replace(progress)
        time.sleep(STEP_S)
        while done >= int((folder / "limit").read_text()):
            time.sleep(STEP_S)
    best = _facts(27, epochs(27), ended=True)
    end = SearchEnd(
        counts={"complete": 10, "stopped": 10, "diverged": 10},
        best=best,
        best_values={"loss.box": 27},
        curves={number: {epoch: value(number, epoch) for epoch in range(1, epochs(number) + 1)} for number in range(9)},
        files=[Path("best.yaml")],
        checkpoints=[Checkpoint(27, Path("best.safetensors"))],
    )
    notes = recorder.finish(end, timeout_s=300)
    ids |= recorder.run_ids()
    (folder / "told.json").write_text(json.dumps({"notes": notes, "ids": ids}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
