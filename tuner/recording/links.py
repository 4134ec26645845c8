"""Links of notes to runs, whose addresses only the writer knows."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tuner.recording.records import SEARCH
from tuner.recording.views import page

_RUN = re.compile(r"\[([^][]*)\]\(run:(search|\d+)(/[^()\s]*)?\)")
_VIEW = re.compile(r"\]\(view\)")


@dataclass(frozen=True)
class Links:
    """Where the runs of a search stand in MLflow's pages."""

    experiment: str
    search: str
    run_id: Callable[[int], str | None]  # by our number

    def resolved(self, note: str) -> str:
        """The note with addresses in its links; the text alone where there is no such run."""
        return _RUN.sub(self._run, _VIEW.sub(f"]({page(self.experiment, self.search)})", note))

    def _run(self, link: re.Match[str]) -> str:
        text, run, path = link[1], link[2], link[3] or ""
        found = self.run_id(SEARCH if run == "search" else int(run))
        if found is None:
            return text
        return f"[{text}](#/experiments/{self.experiment}/runs/{found}{path}?workflowType=machine_learning)"
