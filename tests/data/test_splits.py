"""Splits: which folders name one, and how `--split` divides the rest."""

import hashlib
from fractions import Fraction
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.formats.splits import SplitRule, read_split, split_of
from data.manifest import Split


@pytest.mark.parametrize(
    ("path", "root", "split"),
    [
        ("train/a.dat", "", "train"),
        ("HDF5/train_h5_1/a_td.h5", "", "train"),
        ("val_h5_2/a_td.h5", "", "val"),
        ("deep/test/x/y/a.raw", "", "test"),
        ("train/val/a.raw", "", "val"),  # the nearest counts
        ("train_a/a_td.dat", "", "train"),
        ("training/a.raw", "", "train"),
        ("validation/a.raw", "", "val"),
        ("valid/a.raw", "", "val"),
        ("testing/a.raw", "", "test"),
        ("a.raw", "test", "test"),
        ("train/a.raw", "test", "train"),
        ("a/b.raw", "data", None),
        ("trains/a.raw", "", None),
        ("my_train/a.raw", "", None),
        ("test_run_5/a.raw", "", None),
        ("x/train", "", None),  # the recording's own name is no folder
    ],
)
def test_the_nearest_folder_that_is_named_for_a_split_gives_it(path: str, root: str, split: str | None) -> None:
    assert split_of(PurePosixPath(path), root) == split


def recordings(count: int) -> list[tuple[str, PurePosixPath]]:
    return [(f"r{i}", PurePosixPath("d", f"r{i}.raw")) for i in range(count)]


@pytest.mark.parametrize("split", list(Split))
def test_one_split_takes_all(split: Split) -> None:
    assert set(read_split(split.value).assigned(recordings(7)).values()) == {split}


@pytest.mark.parametrize(
    ("shares", "count", "expected"),
    [
        ("8:1:1", 10, (8, 1, 1)),
        ("8:1:1", 100, (80, 10, 10)),
        ("1:1:1", 9, (3, 3, 3)),
        ("7:2:1", 5, (3, 1, 1)),  # 3.5, 1, 0.5: cut to 3, 1, 0, and one is left, for train; test then takes one of it
        ("8:2:0", 10, (8, 2, 0)),
        ("0:1:1", 4, (0, 2, 2)),
        ("0.8:0.1:0.1", 10, (8, 1, 1)),
        ("8:1:1", 3, (1, 1, 1)),  # 2.4, 0.3, 0.3: train gives one to each of the others
        ("8:1:1", 2, (1, 1, 0)),  # not enough for all three
        ("8:1:1", 1, (1, 0, 0)),
        ("8:1:1", 0, (0, 0, 0)),
    ],
)
def test_shares_are_counted_as_by_hand(shares: str, count: int, expected: tuple[int, int, int]) -> None:
    splits = list(read_split(shares).assigned(recordings(count)).values())
    assert tuple(splits.count(split) for split in Split) == expected


def test_recordings_are_ranked_by_the_sha256_of_their_names_whatever_their_order() -> None:
    named = recordings(10)
    ranked = sorted(named, key=lambda one: hashlib.sha256(one[0].encode()).hexdigest())
    expected = {
        path: Split.TRAIN if rank < 8 else (Split.VAL, Split.TEST)[rank - 8] for rank, (_, path) in enumerate(ranked)
    }
    assert read_split("8:1:1").assigned(named) == expected
    assert read_split("8:1:1").assigned(named[::-1]) == expected


@given(
    shares=st.tuples(*[st.fractions(0, 10)] * 3).filter(any),
    count=st.integers(0, 60),
)
def test_every_recording_gets_one_split_and_counts_are_within_one_of_their_shares_or_the_least(
    shares: tuple[Fraction, Fraction, Fraction], count: int
) -> None:
    splits = list(SplitRule(shares).assigned(recordings(count)).values())
    counts = [splits.count(split) for split in Split]
    assert sum(counts) == count
    wanted = sum(share > 0 for share in shares)
    for share, got in zip(shares, counts, strict=True):
        exact = count * share / sum(shares)
        assert got == 0 if share == 0 else got >= (1 if count >= wanted else 0)
        assert got == 1 or exact - 3 < got < exact + 1


@pytest.mark.parametrize(
    "text", ["training", "8:1", "8:1:1:1", "8:1:x", "-8:1:1", "8: 1:1", "1e3:1:1", "", "8/1/1", "::"]
)
def test_what_is_no_split_is_an_error_that_says_what_is(text: str) -> None:
    with pytest.raises(InputError, match=r"--split .*: must be train, val or test, or their shares as in 8:1:1"):
        read_split(text)


def test_shares_of_nothing_are_an_error() -> None:
    with pytest.raises(InputError, match="--split 0:0:0: every share is 0"):
        read_split("0:0:0")
