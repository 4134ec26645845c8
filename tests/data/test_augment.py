"""The settings of augmentation: what each refuses."""

import re

import pytest

from data.augment import AugmentConfig, check
from data.errors import ConfigError
from data.representation import RepresentationName


def test_by_default_windows_are_mirrored_half_of_the_time_and_nothing_else_is_done() -> None:
    chances = {name for name, value in AugmentConfig().leaves().items() if value == 0}
    assert AugmentConfig().flip == 0.5
    assert chances == {
        "zoom_in", "zoom_out", "translate", "multi_scale", "mosaic", "event_drop", "polarity_flip", "time_flip"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value", "chance"),
    [("zoom_in_max", 2.0, "zoom_in"), ("zoom_out_max", 2.0, "zoom_out"), ("close_mosaic", 7, "mosaic")],
)
def test_a_range_whose_chance_is_0_is_refused_and_taken_otherwise(setting: str, value: float, chance: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{setting}={value} but {chance}=0")):
        AugmentConfig.parse({setting: value}, "spec")
    taken = AugmentConfig.parse({setting: value, chance: 0.1}, "spec")
    assert getattr(taken, setting) == value


@pytest.mark.parametrize(
    "wrong",
    [{"flip": 1.1}, {"zoom_in_max": 0.9}, {"event_drop": 1.0}, {"translate": -0.1}, {"close_mosaic": -1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_value_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AugmentConfig.parse(wrong, "spec")


def test_time_cannot_run_backwards_on_a_time_surface() -> None:
    with pytest.raises(ValueError, match=r"time_flip=0.5 but a time surface keeps only the latest event"):
        check(RepresentationName.TIME_SURFACE, AugmentConfig(time_flip=0.5))


def test_everything_else_can_be_done_to_every_representation() -> None:
    for name in RepresentationName:
        backwards = 0.0 if name is RepresentationName.TIME_SURFACE else 0.5
        check(name, AugmentConfig(polarity_flip=0.5, mosaic=0.5, event_drop=0.5, time_flip=backwards))
