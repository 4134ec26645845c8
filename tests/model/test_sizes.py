"""Presets, and what width and depth make of them."""

import pytest

from model.sizes import Preset, detector_size


def test_a_factor_of_one_leaves_every_preset_as_it_is() -> None:
    assert detector_size(Preset.NANO) == ((24, 48, 96, 128), 1)
    assert detector_size(Preset.SMALL, 1.0, 1.0) == ((40, 80, 160, 224), 1)
    assert detector_size(Preset.BASE) == ((64, 128, 256, 384), 2)
    assert detector_size(Preset.LARGE) == ((96, 192, 384, 512), 3)


def test_width_multiplies_channels_and_leaves_depth_alone() -> None:
    assert detector_size(Preset.BASE, width=0.5) == ((32, 64, 128, 192), 2)


def test_depth_multiplies_blocks_and_leaves_channels_alone() -> None:
    assert detector_size(Preset.BASE, depth=2) == ((64, 128, 256, 384), 4)


def test_channels_are_the_nearest_multiples_of_eight() -> None:
    # 24, 48, 96, 128 times 1.3 are 31.2, 62.4, 124.8, 166.4; times 0.5 are 12, 24, 48, 64, and halves go up.
    assert detector_size(Preset.NANO, width=1.3)[0] == (32, 64, 128, 168)
    assert detector_size(Preset.NANO, width=0.5)[0] == (16, 24, 48, 64)


def test_channels_are_never_fewer_than_eight() -> None:
    assert detector_size(Preset.NANO, width=0.01)[0] == (8, 8, 8, 8)


@pytest.mark.parametrize(("depth", "blocks"), [(0.1, 1), (0.5, 2), (0.8, 2), (1.1, 3), (1.5, 5)])
def test_blocks_are_the_nearest_whole_number_and_at_least_one(depth: float, blocks: int) -> None:
    assert detector_size(Preset.LARGE, depth=depth)[1] == blocks  # 3 x depth: 0.3, 1.5, 2.4, 3.3, 4.5
