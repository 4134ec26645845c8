"""A search in its folder as a study told by hand: who reported what, and when."""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.schedulers.decision import Decision
from tuner.search_folder import IDENTITY_FILE, RESULT_FILE, SPEC_FILE
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.record import Origin, Told, TrialKind, TrialState
from tuner.study.study import Study

SEARCH_ID = "tiny-20261126-201932"
SPACE = "space: {loss.box: {uniform: [2, 15]}, optimizer.name: {choice: [sgd, adamw]}}\n"


class StudiedSearch:
    """Writes a search's folder. Its clock stands still unless it is set."""

    def __init__(self, folder: Path, text: str, space: str = SPACE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SPEC_FILE).write_text(f"name: tiny\n{space}{text}")
        identity = {"search_id": SEARCH_ID, "dataset": "datasets/tiny", "digest": "0" * 64}
        (folder / IDENTITY_FILE).write_text(json.dumps(identity))
        self.folder = folder
        self.now_s = 1000.0
        self.spec: SearchSpec = load_spec(folder / SPEC_FILE)
        self.study = Study.create(folder, self.spec, SEARCH_ID, clock=lambda: self.now_s)

    def begin(self, at_s: float, **origin: Any) -> int:
        """A new trial, taken up at once by a worker of node a."""
        self.now_s = at_s
        number = self.study.begin(Origin(origin.pop("sampled", {}), **origin)).number
        self.take_up(number, at_s)
        return number

    def take_up(self, number: int, at_s: float, node: str | None = "a") -> None:
        """A worker goes on with a trial; without a node it is lost before it could say where it is."""
        self.now_s = at_s
        self.study.take_up(number)
        if node is not None:
            self.study.started(number, node)

    def report(
        self,
        number: int,
        epoch: int,
        value: float,
        at_s: float,
        decision: Decision = Decision.CONTINUE,
        **further: float,
    ) -> None:
        """An epoch that is the best so far, after ten seconds of work."""
        self.now_s = at_s
        metrics = {"epoch": epoch, "map": value, "map50": value, "map75": value, "best": 1.0, **further}
        told = Told(epoch, metrics, f"trials/{number:04d}/checkpoint_{epoch:06d}", decision, 10.0 * epoch, 0.5 * epoch)
        self.study.report(number, told)

    def end(self, number: int, state: TrialState, at_s: float, error: str | None = None) -> None:
        """The trial is over."""
        self.now_s = at_s
        self.study.finish(number, state, error)

    def forget_times(self) -> None:
        """Write the rows as they were before times were kept."""
        self.study.close()
        with sqlite3.connect(self.folder / "study.db") as connection:
            rows = connection.execute("SELECT trial_user_attribute_id, key, value_json FROM trial_user_attributes")
            for row_id, key, text in rows.fetchall():
                value = json.loads(text)
                if key.startswith("epoch "):
                    value = value[:5]
                elif key.startswith("leg "):
                    value = value[:2]
                elif key == "end":
                    value = {name: fact for name, fact in value.items() if name != "at_s"}
                changed = (json.dumps(value), row_id)
                connection.execute(
                    "UPDATE trial_user_attributes SET value_json = ? WHERE trial_user_attribute_id = ?", changed
                )
        connection.close()

    def summarise(self, **facts: Any) -> None:
        """Write the result as the search itself would at its end."""
        states = {state.value: sum(r.state is state for r in self.study.trials()) for state in TrialState}
        (self.folder / RESULT_FILE).write_text(json.dumps({"trials": states, "halted": None, "best": None, **facts}))


def repeat_of(number: int, seed: int) -> Mapping[str, Any]:
    """What a repeat is begun with."""
    return {"sampled": {"training.seed": seed}, "kind": TrialKind.REPEAT, "repeats": number}
