"""Notes on a source: what was taken for granted or left aside, in sentences for the user."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from data.formats.event_files import RVT_EVENTS, RVT_LABELS, RVT_STACKED, sequence_of
from data.formats.finding import Finding
from data.formats.splits import SplitRule
from data.manifest import Split

FOREIGN = (".aedat", ".bag", ".mcap")  # events that nothing here reads
MOST_NAMED = 3


def split_note(unsplit: Sequence[Finding], rule: SplitRule | None) -> list[str]:
    """Where recordings that lie in no split folder went."""
    if not unsplit:
        return []
    counts = Counter(finding.split for finding in unsplit)
    went = ", ".join(f"{counts[split]} {split}" for split in Split if counts[split])
    remedy = "" if rule is not None else "; --split 8:1:1 divides them, --split val names another"
    return [f"{_count(len(unsplit), 'recording')} in no split folder: {went}{remedy}"]


def unlabelled_note(findings: Sequence[Finding]) -> list[str]:
    """The recordings without boxes."""
    without = [finding.name for finding in findings if finding.box_source is None]
    of_all = f"{len(without)} of {_count(len(findings), 'recording')}"
    return [f"{of_all} without boxes: {_some(without)}"] if without else []


def unread_note(places: Iterable[PurePosixPath]) -> list[str]:
    """Labels that belong to no recording."""
    names = [str(place) for place in places]
    return [f"ignored, labels of no recording: {_some(names)}"] if names else []


def incomplete_note(paths: Iterable[PurePosixPath], events: Collection[PurePosixPath]) -> list[str]:
    """RVT sequences that lack their labels or a representation that can be read."""
    whole = {sequence_of(path) for path in events}
    broken = {str(sequence) for path in paths if (sequence := sequence_of(path)) is not None and sequence not in whole}
    needed = f"{RVT_LABELS}/ and {RVT_EVENTS}/{RVT_STACKED}.../"
    return [f"ignored, no whole RVT sequence, which has {needed}: {_some(sorted(broken))}"] if broken else []


def foreign_note(paths: Iterable[PurePosixPath]) -> list[str]:
    """Files of events in formats that nothing here reads."""
    names = sorted(str(path) for path in paths if path.suffix in FOREIGN)
    return [f"ignored, a format that is not read (docs/formats.md): {_some(names)}"] if names else []


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
