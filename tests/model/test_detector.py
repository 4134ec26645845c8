import itertools

import pytest
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from data.representation import RepresentationConfig, RepresentationName
from model.detector import DetectorConfig, SpikingDetector
from model.head import BINS, EMBEDDING, Predictions
from model.neuron_config import NeuronConfig, NeuronName
from model.sizes import Preset

CLASSES = 3
OUTPUTS = ("sides", "classes", "embeddings")


def random_frames(seed: int, T: int, B: int, height: int = 64, width: int = 96) -> torch.Tensor:
    """Sparse counts of 0 to 6."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 7, (T, B, 2, height, width), generator=generator)
    there = torch.rand(T, B, 2, height, width, generator=generator) < 0.3
    return (counts * there).to(torch.uint8)


def awake(config: DetectorConfig) -> SpikingDetector:
    """An untrained detector in evaluation mode whose norms have seen data; without that it would hardly fire."""
    torch.manual_seed(0)
    detector = SpikingDetector(config, RepresentationConfig(), 4, CLASSES)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of what is seen, from the first batch on
    with torch.no_grad():
        detector.train()(random_frames(99, 4, 4))
    return detector.eval()


@pytest.fixture(scope="module")
def detector() -> SpikingDetector:
    return awake(DetectorConfig())


def answer(detector: SpikingDetector, frames: torch.Tensor) -> Predictions:
    with torch.no_grad():
        found: Predictions = detector(frames)
    return found


@pytest.mark.parametrize(
    ("T", "B", "height", "width", "N"),
    [
        (4, 2, 64, 96, 8 * 12 + 4 * 6 + 2 * 3),
        (1, 1, 32, 32, 16 + 4 + 1),
        (2, 1, 96, 160, 12 * 20 + 6 * 10 + 3 * 5),
    ],
)
def test_predictions_keep_time_and_have_a_row_for_every_cell_of_three_levels(
    detector: SpikingDetector, T: int, B: int, height: int, width: int, N: int
) -> None:
    found = answer(detector, random_frames(0, T, B, height, width))
    assert found.sides.shape == (T, B, N, 4, BINS)
    assert found.classes.shape == (T, B, N, CLASSES)
    assert found.embeddings.shape == (T, B, N, EMBEDDING)
    assert found.corners().shape == (T, B, N, 4)
    assert found.points.shape == (N, 2)


def test_anchor_points_are_the_centres_of_the_cells_row_by_row(detector: SpikingDetector) -> None:
    found = answer(detector, random_frames(0, 1, 1))
    assert found.points[:2].tolist() == [[4, 4], [12, 4]]
    assert found.points[12].tolist() == [4, 12]
    assert found.points[96].tolist() == [8, 8]
    assert found.points[-1].tolist() == [80, 48]
    assert found.strides.tolist() == [8] * 96 + [16] * 24 + [32] * 6


def test_corners_are_the_mean_of_each_sides_distribution() -> None:
    sides = torch.full((1, 1, 1, 4, BINS), -100.0)
    for side, strides in enumerate((1, 2, 3, 4)):
        sides[..., side, strides] = 0
    sides[..., 3, 5] = 0  # as likely as 4: 4.5 in the mean
    found = Predictions(sides, sides, sides, torch.tensor([[100.0, 50.0]]), torch.tensor([8.0]))
    torch.testing.assert_close(found.corners()[0, 0, 0], torch.tensor([92.0, 34, 124, 86]))


def test_events_of_the_last_step_change_nothing_before_it(detector: SpikingDetector) -> None:
    frames, changed = random_frames(1, 4, 2), random_frames(1, 4, 2)
    changed[-1] = random_frames(2, 1, 2)[0]
    before, after = answer(detector, frames), answer(detector, changed)
    for name in OUTPUTS:
        assert torch.equal(getattr(before, name)[:-1], getattr(after, name)[:-1])
        assert not torch.equal(getattr(before, name)[-1], getattr(after, name)[-1])


def test_events_of_the_first_step_are_remembered_in_the_last(detector: SpikingDetector) -> None:
    frames, changed = random_frames(1, 4, 2), random_frames(1, 4, 2)
    changed[0] = random_frames(2, 1, 2)[0]
    before, after = answer(detector, frames), answer(detector, changed)
    for name in OUTPUTS:
        assert not torch.equal(getattr(before, name)[-1], getattr(after, name)[-1])


def test_the_same_window_twice_gets_the_same_answer(detector: SpikingDetector) -> None:
    frames = random_frames(3, 4, 2)
    first, second = answer(detector, frames), answer(detector, frames)
    for name in OUTPUTS:
        assert torch.equal(getattr(first, name), getattr(second, name))


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # torch speaks of GPUs when its flags are touched
def test_a_batch_equals_its_windows_one_by_one(detector: SpikingDetector) -> None:
    frames = random_frames(4, 3, 3)
    # torch's own kernels sum each window alone; others may round by batch size, and a rounding can flip a spike.
    with torch.backends.mkldnn.flags(enabled=False):
        together = answer(detector, frames)
        alone = [answer(detector, frames[:, row : row + 1]) for row in range(3)]
    for name in OUTPUTS:
        one_by_one = torch.cat([getattr(found, name) for found in alone], dim=1)
        torch.testing.assert_close(getattr(together, name), one_by_one, rtol=1e-5, atol=1e-6)


def test_more_than_ten_events_in_a_cell_say_no_more_than_ten(detector: SpikingDetector) -> None:
    frames = random_frames(5, 2, 1)
    many, ten, nine = (torch.where(frames == 6, count, frames) for count in (255, 10, 9))
    assert torch.equal(answer(detector, many).classes, answer(detector, ten).classes)
    assert not torch.equal(answer(detector, ten).classes, answer(detector, nine).classes)


@pytest.mark.parametrize(
    "neuron", [NeuronConfig(max_spikes=4), NeuronConfig(max_spikes=2), NeuronConfig(name=NeuronName.LIF)]
)
def test_every_weight_layer_but_the_stem_reads_spike_counts(neuron: NeuronConfig) -> None:
    detector = awake(DetectorConfig(neuron=neuron))
    seen: dict[str, torch.Tensor] = {}
    layers = {name: module for name, module in detector.named_modules() if isinstance(module, (_ConvNd, nn.Linear))}
    for name, module in layers.items():
        module.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    answer(detector, random_frames(6, 4, 2))
    assert seen.keys() == layers.keys()
    stem, *others = seen.values()  # in the order they were called
    assert stem.max() == 6
    for spikes in others:
        assert torch.equal(spikes, spikes.round())
        assert spikes.min() >= 0
        assert spikes.max() <= neuron.levels
        assert spikes.any()  # a silent layer would prove nothing


def test_presets_grow() -> None:
    weights = [
        sum(weight.numel() for weight in SpikingDetector(config, RepresentationConfig(), 4, CLASSES).parameters())
        for config in (DetectorConfig(preset=preset) for preset in Preset)
    ]
    assert len(weights) == 4
    assert all(small * 1.5 < large for small, large in itertools.pairwise(weights))


def test_two_steps_of_training_keep_no_graph() -> None:
    torch.manual_seed(0)
    detector = SpikingDetector(DetectorConfig(), RepresentationConfig(), 4, CLASSES).train()
    for seed in (7, 8):
        # A membrane kept from the first window would lead the second backward into a graph that is freed.
        found = detector(random_frames(seed, 2, 2, 32, 32))
        (found.classes.sum() + found.sides.sum()).backward()


def test_windows_of_another_size_or_number_may_follow(detector: SpikingDetector) -> None:
    frames = random_frames(9, 2, 1)
    before = answer(detector, frames)
    answer(detector, random_frames(9, 3, 2, 32, 64))
    assert torch.equal(answer(detector, frames).classes, before.classes)


def test_windows_shown_one_after_the_other_with_carried_membranes_answer_as_one_long_window(
    detector: SpikingDetector,
) -> None:
    frames = random_frames(5, 4, 2)
    whole = answer(detector, frames)
    with torch.no_grad():
        detector(frames[:2], torch.tensor([False, False]))
        second = detector(frames[2:], torch.tensor([True, False]))
    alone = answer(detector, frames[2:])
    torch.testing.assert_close(second.classes[:, 0], whole.classes[2:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second.classes[:, 1], alone.classes[:, 1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole.classes[2:, 0], alone.classes[:, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RepresentationConfig(), [0.0, 3.0, 10.0]),  # counts, cut at 10
        (RepresentationConfig(name=RepresentationName.DIFF3D), [0.0, 3.0, -10.0]),  # 200 is -56 as a signed byte
        (RepresentationConfig(name=RepresentationName.TIME_SURFACE), [0.0, 3 * 10 / 255, 200 * 10 / 255]),
    ],
)
def test_frames_of_every_representation_become_numbers_of_one_scale(
    values: RepresentationConfig, expected: list[float]
) -> None:
    detector = SpikingDetector(DetectorConfig(), values, 4, CLASSES).eval()
    seen: list[torch.Tensor] = []
    detector.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames = torch.zeros(1, 1, values.channels, 32, 32, dtype=torch.uint8)
    frames[0, 0, 0, 0, :3] = torch.tensor([0, 3, 200], dtype=torch.uint8)
    answer(detector, frames.view(torch.int8) if values.signed else frames)
    assert seen[0][0, 0, 0, 0, :3].tolist() == pytest.approx(expected)


def test_a_stacked_histogram_comes_in_through_all_its_channels() -> None:
    stacked = RepresentationConfig(name=RepresentationName.STACKED_HISTOGRAM, bins=5)
    detector = SpikingDetector(DetectorConfig(), stacked, 4, CLASSES).eval()
    assert answer(detector, torch.zeros(1, 1, 10, 32, 32, dtype=torch.uint8)).classes.shape[:2] == (1, 1)
