"""What is measured of a detector, against numbers worked out by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from data.batches import Batch
from data.boxes import Boxes, label_set
from data.dataset import Dataset
from data.events import Events, SensorSize
from data.manifest import Split
from data.windows import Window
from model.checkpoint import Checkpoint
from model.detector import SpikingDetector
from model.diagnosis.layer_signs import silence_watched
from model.diagnosis.learning_signs import learning_signs, stages
from model.diagnosis.movement import relative_distance
from model.diagnosis.renaming import permutation
from model.diagnosis.result_signs import filter_counts, shares_within
from model.diagnosis.vital_signs import examine
from model.head import BINS, EMBEDDING, Predictions
from model.initial import initial_detector
from model.loss import DetectionLoss
from model.neuron_config import NeuronConfig
from model.neurons import neuron_factory
from model.prediction import Validation
from model.training.trainer import Trainer
from model.trial_config import TrialConfig

CONFIG = TrialConfig().with_leaves(
    {"data.time_steps": 2, "training.batch_size": 4, "training.seed": 11, "training.compile": "off"}, ""
)
GEN1 = label_set("gen1")
SIZE = SensorSize(96, 64)


def batch(targets: list[list[float]], labelled: list[list[bool]]) -> Batch:
    """T x B images of 64x64 with some events, and targets of image, class, corners."""
    flags = torch.tensor(labelled)
    T, B = flags.shape
    frames = torch.randint(0, 4, (T, B, 2, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    boxes = torch.tensor(targets, dtype=torch.float32).reshape(-1, 6)
    tracks = torch.arange(len(boxes))
    return Batch(frames, boxes, tracks, flags, torch.zeros(B, dtype=torch.bool), (Window(0, 0, 1, 0),) * B)


@pytest.fixture
def fresh() -> Checkpoint:
    return Checkpoint(initial_detector(CONFIG, GEN1).eval(), CONFIG, GEN1, SIZE, 0, {})


def test_a_channel_is_silent_until_it_fires_in_any_call() -> None:
    neuron = neuron_factory(NeuronConfig(), time_steps=1)()
    with silence_watched(cast(SpikingDetector, nn.Sequential(neuron))) as silent:
        x_TBCHW = torch.tensor([2.0, -1.0, 0.2, -3.0]).view(1, 1, 4, 1, 1).expand(1, 1, 4, 1, 2).contiguous()
        neuron(x_TBCHW)
        assert silent == {"0": 0.75}  # of 2, -1, .2 and -3 only 2 reaches the threshold of 1
        x_TBCHW[0, 0, 1, 0, 1] = 3.0  # one place of the second channel
        x_TBCHW[0, 0, 0] = -1.0
        neuron(x_TBCHW)
        assert silent == {"0": 0.5}
    neuron(x_TBCHW + 9)
    assert silent == {"0": 0.5}  # nobody watches any more


def test_a_layer_whose_input_is_always_three_fires_six_spikes_of_a_half_a_step(
    fresh: Checkpoint, tiny_dataset: Dataset
) -> None:
    norm = fresh.detector.get_submodule("backbone.stages.0.0.2")
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    nn.init.constant_(norm.bias, 3.0)
    with torch.no_grad():
        norm.bias[:12] = -1.0  # a quarter of the 48 channels
    signs = examine(fresh, tiny_dataset, windows=2)
    (layer,) = [layer for layer in signs.layers if layer.name == "backbone.stages.0.1.split.0"]
    assert layer.rate == pytest.approx(0.75 * 6)  # 6 of .5 leave nothing on the membrane for the next step
    assert layer.training_rate == pytest.approx(0.75 * 6)
    assert (layer.silent, layer.levels) == (0.25, 8)


def test_layers_stand_in_the_order_in_which_they_run(fresh: Checkpoint, tiny_dataset: Dataset) -> None:
    names = [layer.name for layer in examine(fresh, tiny_dataset, windows=1).layers]
    places = [
        names.index(next(name for name in names if name.startswith(stage)))
        for stage in list(stages(fresh.detector))[1:]
    ]
    assert places == sorted(places)
    assert names[0].startswith("backbone.stages.0")


def test_an_examination_leaves_the_detector_and_the_draws_as_they_were(
    fresh: Checkpoint, tiny_dataset: Dataset
) -> None:
    fresh.detector.train()
    before = {name: value.clone() for name, value in fresh.detector.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    examine(fresh, tiny_dataset, windows=1)
    assert torch.equal(torch.rand(3), expected)
    assert fresh.detector.training
    assert all(torch.equal(before[name], value) for name, value in fresh.detector.state_dict().items())
    assert all(value.grad is None for value in fresh.detector.parameters())
    assert not any(module._forward_hooks for module in fresh.detector.modules())


def test_positives_are_the_anchor_points_inside_the_boxes_of_labelled_images(fresh: Checkpoint) -> None:
    # Image 0, of T=1 and B=2. Between 8 and 24 lie the points 12 and 20 of stride 8 in either direction, four in all,
    # and 16, 16 of stride 32; those of stride 16 lie at 8 and 24, on the edge, which is not inside.
    one = batch([[0, 1, 8, 8, 24, 24]], [[True, False]])
    signs = learning_signs(fresh.detector, CONFIG, [one])
    assert (signs.images, signs.labelled, signs.boxes) == (2, 0.5, 1)
    assert signs.positives_a_box == 5
    assert signs.positives_an_image == 5  # of the one image that is labelled


def test_batches_without_boxes_are_passed_over_until_two_have_some(fresh: Checkpoint) -> None:
    empty, full = batch([], [[True]]), batch([[0, 0, 8, 8, 24, 24]], [[True]])
    signs = learning_signs(fresh.detector, CONFIG, [empty, full, empty, full, full])
    assert (signs.images, signs.boxes, signs.boxes_studied, signs.images_studied) == (4, 2, 2, 2)


def test_of_twenty_batches_without_boxes_the_first_is_studied(fresh: Checkpoint) -> None:
    empty = batch([], [[False]])
    signs = learning_signs(fresh.detector, CONFIG, [empty] * 30)
    assert (signs.images, signs.labelled, signs.boxes, signs.positives_a_box) == (20, 0.0, 0, 0.0)
    assert set(signs.gradients.values()) == {0.0}  # nothing is known, so nothing is taught


def test_a_gradient_is_as_long_as_that_of_the_loss_over_the_stages_weights(fresh: Checkpoint) -> None:
    one = batch([[0, 1, 8, 8, 24, 24]], [[True]])
    detector = initial_detector(CONFIG, GEN1).train()
    loss = DetectionLoss(CONFIG.loss)(detector(one.frames_TBCHW), one).total()
    weights = list(detector.neck.parameters())
    pieces = torch.autograd.grad(loss, weights, allow_unused=True)
    squares = sum(float(piece.double().square().sum()) for piece in pieces if piece is not None)
    signs = learning_signs(fresh.detector, CONFIG, [one])
    assert signs.gradients["neck"] == pytest.approx(squares**0.5, rel=1e-4)
    assert squares > 0


def test_every_weight_belongs_to_one_stage(fresh: Checkpoint) -> None:
    owned = [id(value) for stage in stages(fresh.detector).values() for value in stage.parameters()]
    assert sorted(owned) == sorted(id(value) for value in fresh.detector.parameters())


def predictions(centres: list[tuple[float, float]], scores: list[float]) -> Predictions:
    """One step, one window: points whose boxes are centred on them, since all sides are alike."""
    N = len(centres)
    classes = torch.tensor(scores).logit().view(1, 1, N, 1)
    sides = torch.zeros(1, 1, N, 4, BINS)
    return Predictions(
        sides=sides,
        classes=classes,
        embeddings=torch.zeros(1, 1, N, EMBEDDING),
        points=torch.tensor(centres),
        strides=torch.full((N,), 8.0),
    )


@pytest.mark.parametrize(
    ("scores", "share"),
    [
        ([0.9, 0.8, 0.1, 0.1], 0.5),  # one of the two best lies in the corner
        ([0.9, 0.1, 0.1, 0.1], 1.0),
        ([0.1, 0.9, 0.44, 0.1], 0.0),  # less than half of the best score does not count
        ([0.1, 0.8, 0.41, 0.1], 0.5),
        ([0.2, 0.2, 0.2, 0.2], 0.5),  # where all are alike, all count
    ],
)
def test_the_share_at_the_origin_is_that_of_the_best_predictions(scores: list[float], share: float) -> None:
    found = predictions([(3.0, 2.0), (50.0, 2.0), (19.0, 15.0), (19.0, 17.0)], scores)
    assert shares_within(found, np.array([20.0, 16.0])) == pytest.approx([share])


def test_boxes_below_the_evaluations_filter_are_counted_at_the_times_that_count(
    make_take: Any, write_dataset: Callable[[Path, Sequence[Any], SensorSize, Any], Dataset], tmp_path: Path
) -> None:
    # At 96 px the least diagonal is 60 * 96 / 1280 = 4.5 px, and the least side 1.5 px.
    sides = [(4.0, 2.0), (4.0, 2.1), (10.0, 1.4), (1.0, 1.0)]  # diagonals 4.47 and 4.52; a thin one; an early one
    times = np.array([500_000, 600_000, 600_000, 600_000])
    xywh = np.array([[10, 10, 1, 1], *[[10, 10, w, h] for w, h in sides[:3]]], np.float32)
    ids = np.arange(4)
    t = np.arange(0, 700_000, 1000)
    pixels, polarity = (np.arange(len(t)) % 64).astype(np.uint16), (np.arange(len(t)) % 2).astype(np.uint8)
    events = Events(t, pixels, pixels, polarity)
    take = make_take("val_day_0001", Split.VAL, events, Boxes(times, xywh, ids * 0, ids), False)
    dataset = write_dataset(tmp_path, [take], SIZE, GEN1)
    assert filter_counts(dataset.shards(Split.VAL), SIZE) == (3, 2)


def test_the_initial_detector_is_that_a_training_begins_with(tiny_dataset: Dataset) -> None:
    torch.manual_seed(3)
    begun = Trainer(CONFIG, tiny_dataset, Validation(windows=2), torch.device("cpu")).detector.state_dict()
    torch.manual_seed(4)
    drawn = initial_detector(CONFIG, tiny_dataset.label_set).state_dict()
    assert all(torch.equal(begun[name], value) for name, value in drawn.items())


def test_weights_that_are_doubled_have_moved_by_their_length() -> None:
    start, end = initial_detector(CONFIG, GEN1), initial_detector(CONFIG, GEN1)
    assert relative_distance(end, start) == 0
    with torch.no_grad():
        for value in end.parameters():
            value.mul_(2)
    assert relative_distance(end, start) == pytest.approx(1)


@pytest.mark.parametrize(
    ("met", "straight", "renamed", "names"),
    [
        ([[9, 1], [2, 8]], 0.85, 0.85, {0: 0, 1: 1}),
        ([[0, 5], [20, 0]], 0.0, 1.0, {0: 1, 1: 0}),
        ([[0, 90], [0, 10]], 0.5, 0.5, None),  # one name for all is no renaming: classes weigh alike
        ([[0, 8, 2], [0, 0, 10], [10, 0, 0]], 0.0, (0.8 + 1 + 1) / 3, {0: 1, 1: 2, 2: 0}),
        ([[0, 0, 4], [0, 0, 0], [0, 0, 0]], 0.0, 1.0, {0: 2}),  # a class that is not there says nothing
        ([[0, 0], [0, 0]], 0.0, 0.0, {}),
    ],
)
def test_a_renaming_is_the_best_pairing_of_true_and_found_classes(
    met: list[list[int]], straight: float, renamed: float, names: dict[int, int] | None
) -> None:
    found = permutation(met)
    assert found[:2] == pytest.approx((straight, renamed))
    assert names is None or found[2] == names
