"""Splits of recordings: what folders are named for, and what `--split` says of the rest."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath

from data.errors import InputError
from data.manifest import Split

# train, train_h5_1 as in eTraM, train_a as in GEN1's archives, and the long words.
FOLDER = re.compile(r"(?:(train)(?:ing)?|(val)(?:id|idation)?|(test)(?:ing)?)(?:_h5_\w+|_[a-z])?")


def split_of(path: PurePosixPath, root_name: str = "") -> Split | None:
    """The split that the nearest folder above a recording is named for; `root_name` is the source folder's own."""
    for name in (*(folder.name for folder in path.parents), root_name):
        if named := FOLDER.fullmatch(name):
            return Split(next(word for word in named.groups() if word))
    return None


@dataclass(frozen=True)
class SplitRule:
    """The shares of the splits among recordings that lie in no split folder."""

    shares: tuple[Fraction, Fraction, Fraction]  # of train, val, test; some are above 0

    def assigned(self, recordings: Sequence[tuple[str, PurePosixPath]]) -> dict[PurePosixPath, Split]:
        """A split for each recording, given as name and path.

        Ranked by the SHA-256 of their names and cut by shares: the same for everyone, whatever the order of the files.
        Counts are rounded to the largest remainders; a split with a share gets a recording where there are enough.
        """
        ranked = sorted(recordings, key=lambda named: (hashlib.sha256(named[0].encode()).digest(), named[1]))
        splits = [
            split for split, count in zip(Split, self._counts(len(recordings)), strict=True) for _ in range(count)
        ]
        return {path: split for (_, path), split in zip(ranked, splits, strict=True)}

    def _counts(self, total: int) -> list[int]:
        exact = [total * share / sum(self.shares) for share in self.shares]
        counts = [int(count) for count in exact]
        by_remainder = sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])
        for place in by_remainder[: total - sum(counts)]:
            counts[place] += 1
        for place, share in enumerate(self.shares):
            if share and not counts[place] and max(counts) > 1:
                counts[counts.index(max(counts))] -= 1
                counts[place] = 1
        return counts


def read_split(text: str) -> SplitRule:
    """The rule that `--split` gives: `train`, `val`, `test`, or the shares of the three, as `8:1:1`.

    Raises:
        InputError: it is neither.
    """
    if text in list(Split):
        train, val, test = (Fraction(text == split) for split in Split)
        return SplitRule((train, val, test))
    parts = text.split(":")
    if len(parts) != len(Split) or not all(re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", part) for part in parts):
        raise InputError(f"--split {text}: must be train, val or test, or their shares as in 8:1:1 (0 for none)")
    train, val, test = (Fraction(part) for part in parts)
    if not train + val + test:
        raise InputError(f"--split {text}: every share is 0; give at least one split a share, as in 8:1:1")
    return SplitRule((train, val, test))
