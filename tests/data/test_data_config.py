import re
from pathlib import Path
from typing import Any

import pytest

from data.data_config import DataConfig
from data.errors import ConfigError

DESCRIPTION = Path(__file__).parents[2] / "docs" / "windows.md"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"overlap": 0.5}, "overlap=0.5 but a window for each label has no stride"),
        ({"order": "streaming"}, "order=streaming runs over recordings window by window; set sampling=stride"),
        ({"order": "streaming", "sampling": "stride", "augment": {"time_flip": 0.5}}, "shows recordings as they go"),
        ({"order": "streaming", "sampling": "stride", "augment": {"mosaic": 0.5}}, "shows recordings as they go"),
        ({"order": "mixed", "sampling": "stride", "augment": {"multi_scale": 0.2}}, "of one size"),
        ({"order": "mixed", "sampling": "stride", "max_windows_per_recording": 9}, "passes over whole recordings"),
        ({"representation": {"name": "time_surface"}, "augment": {"time_flip": 0.5}}, "time surface keeps only"),
        ({"windw_us": 3}, "did you mean 'window_us'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DataConfig.parse(values, "test")


@pytest.mark.parametrize(
    "values",
    [
        {"sampling": "stride", "overlap": 0.5},
        {"sampling": "stride", "order": "mixed", "augment": {"mosaic": 0.5, "time_flip": 0.5}},
        {"representation": {"name": "stacked_histogram", "bins": 5}, "augment": {"time_flip": 0.5}},
    ],
)
def test_settings_that_go_together_are_taken(values: dict[str, Any]) -> None:
    DataConfig.parse(values, "test")


def test_frames_depend_on_how_they_are_rendered_and_on_nothing_else() -> None:
    plain = DataConfig().rendering()
    same: list[dict[str, Any]] = [
        {"temporal_buffer": 0.3},
        {"augment": {"flip": 0.1}},
        {"workers": 2},
        {"sampling": "stride"},
    ]
    other: list[dict[str, Any]] = [
        {"scale": 0.5},
        {"time_steps": 2},
        {"square": True},
        {"max_events_per_window": 10},
        {"representation": {"name": "diff3d"}},
        {"representation": {"name": "stacked_histogram", "bins": 3}},
    ]
    assert [DataConfig.parse(values, "test").rendering() == plain for values in same] == [True] * 4
    assert [DataConfig.parse(values, "test").rendering() == plain for values in other] == [False] * 6


def test_every_leaf_is_described_with_its_default() -> None:
    told: dict[str, str] = {}
    for row in re.findall(r"^\| (`.*)$", DESCRIPTION.read_text(), re.MULTILINE):
        leaves, defaults, _ = (cell.strip() for cell in row.split("|")[:3])
        told |= dict(zip(re.findall(r"`([\w.]+)`", leaves), defaults.split(", "), strict=True))
    known = {leaf: "none" if value is None else str(value) for leaf, value in DataConfig().leaves().items()}
    assert told == known
