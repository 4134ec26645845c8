"""Heirs: in a population a new trial takes the place of each that lost, and goes on from a better one's files."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from data.errors import InputError
from model.training.inheriting import adopt
from tuner.schedulers.decision import Decision
from tuner.schedulers.population import Population
from tuner.space import Leaves
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import UNFINISHED, Origin, TrialRecord, TrialState
from tuner.study.study import Study

FOLDER = "trials-heirs"  # of the search's: copies of donors' files, each until its heir has files of its own
log = logging.getLogger(__name__)

# From the donor, the heir's number and its leaves to the files that it begins with; None if there are none.
Inherit = Callable[[TrialRecord, int, Leaves], str | None]


def files_as_they_lie(donor: TrialRecord, number: int, leaves: Leaves) -> str | None:  # noqa: ARG001 - as Inherit
    """The donor's own files, where nobody removes them."""
    return donor.files


def next_heir(population: Population, study: Study, inherit: Inherit) -> Origin | None:
    """What the next trial begins with if one has lost and has no heir yet; all of it follows from the study."""
    records = study.trials()
    replaced = {record.origin.replaces for record in records}
    loser = next((record for record in records if _lost(record) and record.number not in replaced), None)
    if loser is None:
        return None
    number = len(records)
    heir = population.heir(number, loser.last_epoch, lambda donor: study.trial(donor).config)
    if heir is None:
        return None
    donor = study.trial(heir.donor)
    files = inherit(donor, number, heir.leaves)
    epoch = 0 if files is None else donor.last_epoch
    return Origin(heir.leaves, donor=donor.number, replaces=loser.number, epoch=epoch, files=files)


def _lost(record: TrialRecord) -> bool:
    """Whether the scheduler ended it; whoever else does says why."""
    return record.state is TrialState.STOPPED and record.decision is Decision.STOP and record.error is None


class CopiedFiles:
    """Copies a donor's files for its heir, for the donor removes them with its next epoch."""

    def __init__(self, spec: SearchSpec, folder: Path) -> None:
        self._spec = spec
        self._folder = folder

    def __call__(self, donor: TrialRecord, number: int, leaves: Leaves) -> str | None:
        """The copy, below the search's folder, made a run of the heir's own; None if it cannot go on from there."""
        if donor.files is None or not (self._folder / donor.files).is_dir():
            return None
        files = f"{FOLDER}/{number:04d}/files"
        target = self._folder / files
        part = target.with_name("part")
        shutil.rmtree(target.parent, ignore_errors=True)  # of a process that died before the heir was in the study
        try:
            shutil.copytree(self._folder / donor.files, part)
            adopt(part, self._spec.configuration(leaves))
        except (InputError, OSError) as error:  # it begins anew; its worker will say so if its settings are at fault
            log.warning("trial %d cannot go on from trial %d: %s", number, donor.number, error)
            shutil.rmtree(target.parent, ignore_errors=True)
            return None
        part.replace(target)
        return files

    def clear(self, records: Sequence[TrialRecord]) -> None:
        """Remove the copies that no heir still has to begin from: its files are its own by now, or it has ended."""
        wanted = {
            (self._folder / record.files).parent
            for record in records
            if record.files is not None and record.files == record.origin.files and record.state in UNFINISHED
        }
        for copy in (self._folder / FOLDER).glob("*"):
            if copy not in wanted:
                shutil.rmtree(copy, ignore_errors=True)
