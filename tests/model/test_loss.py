import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from data.batches import Batch
from data.errors import ConfigError
from data.representation import RepresentationConfig
from model.detector import DetectorConfig, SpikingDetector
from model.head import BINS, EMBEDDING, Predictions
from model.loss import DetectionLoss, LossConfig, LossTerms, candidates
from model.overlap import intersection_over_union

BOX = (4.0, 4.0, 20.0, 20.0)  # all sides one stride of 8 from the point (12, 12)


def one_hot_sides(*bins: int) -> torch.Tensor:
    """Logits `[4, BINS]` that put each side at exactly this many strides."""
    sides = torch.zeros(len(bins), BINS)
    sides[range(len(bins)), bins] = 200.0
    return sides


def predicted(
    sides_N4: list[torch.Tensor], logits_NK: list[list[float]], points: list[tuple[float, float]], **more: Any
) -> Predictions:
    """One step of one window; every point has a stride of 8."""
    embeddings = more.get("embeddings", torch.zeros(len(points), EMBEDDING))
    return Predictions(
        torch.stack(sides_N4)[None, None],
        torch.tensor(logits_NK)[None, None],
        embeddings[None, None],
        torch.tensor(points),
        torch.full((len(points),), 8.0),
    )


def along_time(parts: list[Predictions]) -> Predictions:
    sides, classes, embeddings = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("sides", "classes", "embeddings")
    )
    return Predictions(sides, classes, embeddings, parts[0].points, parts[0].strides)


def in_windows(one: Predictions, B: int) -> Predictions:
    """The same prediction in B windows."""
    sides, classes, embeddings = (
        part.expand(-1, B, *part.shape[2:]) for part in (one.sides, one.classes, one.embeddings)
    )
    return Predictions(sides, classes, embeddings, one.points, one.strides)


def labelled(*targets: tuple[float, ...], tracks: list[int] | None = None, steps: int = 1, windows: int = 1) -> Batch:
    """Rows of window, class, x1, y1, x2, y2, the same at every step."""
    rows = torch.tensor(targets).reshape(-1, 6)
    ids = torch.tensor(tracks or range(len(targets)), dtype=torch.int64)
    images = torch.cat([rows + torch.tensor([step * windows, 0, 0, 0, 0, 0]) for step in range(steps)])
    known = torch.ones(steps, windows, dtype=torch.bool)
    return Batch(torch.empty(0, dtype=torch.uint8), images, ids.repeat(steps), known, torch.zeros(windows).bool(), ())


def plain(**changes: float | str) -> LossConfig:
    """Every weight 1, alpha .5, gamma 0: plain BCE."""
    weights = {"box": 1.0, "cls": 1.0, "dfl": 1.0, "track": 1.0, "focal_alpha": 0.5, "focal_gamma": 0.0}
    return LossConfig.parse({**weights, "label_smoothing": 0.0, **changes}, "test")


def detection_loss(
    parts: Predictions, batch: Batch, config: LossConfig, class_weights: torch.Tensor | None = None
) -> LossTerms:
    """The loss of a first batch."""
    return DetectionLoss(config, class_weights)(parts, batch)


def exact(logits: list[float]) -> Predictions:
    """One point whose box is exactly BOX."""
    return predicted([one_hot_sides(1, 1, 1, 1)], [logits], [(12, 12)])


def bce(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -(target * math.log(p) + (1 - target) * math.log(1 - p))


def test_an_object_costs_the_focal_losss_closed_form() -> None:
    p = 1 / (1 + math.exp(-0.3))
    terms = detection_loss(exact([0.3]), labelled((0, 0, *BOX)), plain(focal_alpha=0.75, focal_gamma=2))
    # Doubled, so that alpha = .5 weighs everything by 1.
    assert terms.cls.item() == pytest.approx(2 * 0.75 * (1 - p) ** 2 * -math.log(p), rel=1e-5)


def test_background_costs_the_focal_losss_closed_form() -> None:
    p = 1 / (1 + math.exp(-0.3))
    terms = detection_loss(exact([0.3]), labelled(), plain(focal_alpha=0.75, focal_gamma=2))
    assert terms.cls.item() == pytest.approx(2 * 0.25 * p**2 * -math.log(1 - p), rel=1e-5)


def test_gamma_0_and_alpha_one_half_is_binary_cross_entropy() -> None:
    parts = predicted(
        [one_hot_sides(1, 1, 1, 1)] * 3, [[0.4, -2.0], [1.5, 0.1], [-3.0, 2.5]], [(12, 12), (60, 12), (12, 60)]
    )
    target = torch.zeros(3, 2)
    target[0, 1] = 1  # only the first point lies in the box, of class 1
    expected = F.binary_cross_entropy_with_logits(parts.classes[0, 0], target, reduction="sum")
    terms = detection_loss(parts, labelled((0, 1, *BOX)), plain())
    assert terms.cls.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_target_of_a_class_is_how_well_its_box_fits() -> None:
    # The true box is 16x12 of the predicted 16x16: IoU .75.
    terms = detection_loss(exact([0.3]), labelled((0, 0, 4, 4, 20, 16)), plain())
    assert terms.cls.item() == pytest.approx(bce(0.3, 0.75), rel=1e-5)


def test_label_smoothing_takes_e_from_the_class_and_shares_it_among_all() -> None:
    logits = [0.5, -1.0, 2.0, 0.0]
    targets = [0.025, 0.925, 0.025, 0.025]  # y (1 - e) + e / K with e = .1, K = 4, class 1
    terms = detection_loss(exact(logits), labelled((0, 1, *BOX)), plain(label_smoothing=0.1))
    assert terms.cls.item() == pytest.approx(sum(map(bce, logits, targets)), rel=1e-5)


def test_label_smoothing_leaves_the_background_alone() -> None:
    logits = [0.5, -1.0, 2.0, 0.0]
    terms = detection_loss(exact(logits), labelled(), plain(label_smoothing=0.1))
    assert terms.cls.item() == pytest.approx(sum(bce(logit, 0) for logit in logits), rel=1e-5)


def test_the_box_term_is_one_less_ciou_weighted_by_the_fit() -> None:
    # 16x16 predicted, 16x12 true: IoU .75; centres 2 apart in a hull of 16x16; aspects 1 and 4/3.
    aspect = 4 / math.pi**2 * (math.atan(16 / 12) - math.atan(1)) ** 2
    ciou = 0.75 - 2**2 / (16**2 + 16**2) - aspect**2 / (1 - 0.75 + aspect)
    terms = detection_loss(exact([0.3]), labelled((0, 0, 4, 4, 20, 16)), plain())
    assert terms.box.item() == pytest.approx(0.75 * (1 - ciou), rel=1e-4)


def test_a_side_between_two_bins_costs_the_cross_entropy_towards_both() -> None:
    # Bins 1 and 2 at probabilities .25 and .75: predicted sides at 1.75 strides, 14 px. True sides at 1.5, 12 px.
    side = torch.full((4, BINS), -100.0)
    side[:, 1], side[:, 2] = math.log(0.25), math.log(0.75)
    parts = predicted([side], [[0.3]], [(12, 12)])
    terms = detection_loss(parts, labelled((0, 0, 0, 0, 24, 24)), plain())
    fit = (24 / 28) ** 2
    assert terms.dfl.item() == pytest.approx(fit * -(0.5 * math.log(0.25) + 0.5 * math.log(0.75)), rel=1e-5)


def test_each_side_has_its_own_distance() -> None:
    # Sides left, top, right, bottom at 1, 2, 3 and 1.25 strides; all logits equal but two in the last side.
    sides = one_hot_sides(1, 2, 3, 0)
    sides[3] = -100.0
    sides[3, 1], sides[3, 2] = math.log(0.75), math.log(0.25)
    parts = predicted([sides], [[0.3]], [(20, 20)])
    terms = detection_loss(parts, labelled((0, 0, 12, 4, 44, 30)), plain())
    # Only the last side costs anything; the mean is over four.
    assert terms.dfl.item() == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / 4, rel=1e-5)
    assert terms.box.item() == pytest.approx(0, abs=1e-5)


def test_a_side_beyond_the_last_bin_has_a_finite_cost() -> None:
    # Logits all equal: every side at 7.5 strides, a box of 120 px; the true box has 400 px. Any bin costs log 16.
    parts = predicted([torch.zeros(4, BINS)], [[0.3]], [(200, 200)])
    terms = detection_loss(parts, labelled((0, 0, 0, 0, 400, 400)), plain())
    assert terms.dfl.item() == pytest.approx((120 / 400) ** 2 * math.log(16), rel=1e-4)


def two_objects(logits: tuple[float, float], **more: Any) -> Predictions:
    return predicted([one_hot_sides(1, 1, 1, 1)] * 2, [[logits[0]], [logits[1]]], [(12, 12), (60, 12)], **more)


TWO_BOXES = ((0.0, 0.0, *BOX), (0.0, 0.0, 52.0, 4.0, 68.0, 20.0))


def test_terms_are_divided_by_the_objects_found() -> None:
    terms = detection_loss(two_objects((0.3, -0.9)), labelled(*TWO_BOXES), plain())
    assert terms.cls.item() == pytest.approx((bce(0.3, 1) + bce(-0.9, 1)) / 2, rel=1e-5)


def test_an_object_that_is_half_found_divides_by_half() -> None:
    # The second true box is 16x12 of the predicted 16x16: its fit is .75, and the sum of the fits 1.75.
    batch = labelled(TWO_BOXES[0], (0, 0, 52, 4, 68, 16))
    terms = detection_loss(two_objects((0.3, -0.9)), batch, plain())
    assert terms.cls.item() == pytest.approx((bce(0.3, 1) + bce(-0.9, 0.75)) / 1.75, rel=1e-5)


def test_equal_steps_cost_what_one_of_them_costs() -> None:
    torch.manual_seed(0)
    sides = [one_hot_sides(1, 1, 1, 1) + torch.rand(4, BINS) for _ in range(2)]
    step = predicted(sides, [[0.3], [-0.9]], [(12, 12), (60, 12)])
    boxes = (0, 0, 4, 4, 20, 18), TWO_BOXES[1]
    once, thrice = (detection_loss(along_time([step] * T), labelled(*boxes, steps=T), plain(track=0)) for T in (1, 3))
    for name, value in once.as_dict().items():
        assert thrice.as_dict()[name] == pytest.approx(value, rel=1e-5)
    assert once.box.item() > 0.01


def test_every_step_counts_not_only_the_last() -> None:
    batch = labelled((0, 0, *BOX), steps=2)
    good, bad = exact([5.0]), exact([-5.0])
    cost = {
        name: detection_loss(along_time(steps), batch, plain()).cls.item()
        for name, steps in {"bad first": [bad, good], "bad last": [good, bad]}.items()
    }
    expected = (bce(5, 1) + bce(-5, 1)) / 2
    assert cost == {"bad first": pytest.approx(expected, rel=1e-4), "bad last": pytest.approx(expected, rel=1e-4)}


def test_each_step_is_taught_its_own_boxes() -> None:
    # The box is there at the first step only; it stands in image 0 of 2.
    batch = replace(labelled((0, 0, *BOX)), labelled=torch.ones(2, 1, dtype=torch.bool))
    terms = detection_loss(along_time([exact([0.3]), exact([-0.9])]), batch, plain())
    assert terms.cls.item() == pytest.approx(bce(0.3, 1) + bce(-0.9, 0), rel=1e-5)


def test_a_step_of_which_nothing_is_known_costs_nothing() -> None:
    batch = replace(labelled((0, 0, *BOX)), labelled=torch.tensor([[True], [False]]))
    terms = detection_loss(along_time([exact([0.3]), exact([-0.9])]), batch, plain())
    assert terms.cls.item() == pytest.approx(bce(0.3, 1), rel=1e-5)


def test_a_batch_of_which_nothing_is_known_costs_nothing_and_has_finite_gradients() -> None:
    parts = exact([0.3])
    parts.classes.requires_grad_()
    terms = detection_loss(parts, replace(labelled(), labelled=torch.zeros(1, 1, dtype=torch.bool)), plain())
    terms.total().backward()
    assert terms.total().item() == 0
    assert parts.classes.grad is not None
    assert (parts.classes.grad == 0).all()


def test_a_class_weight_multiplies_its_classs_part_of_the_classification_term() -> None:
    weights = torch.tensor([2.0, 5.0])
    terms = detection_loss(exact([0.3, -0.9]), labelled((0, 1, *BOX)), plain(), weights)
    assert terms.cls.item() == pytest.approx(2 * bce(0.3, 0) + 5 * bce(-0.9, 1), rel=1e-5)


def test_a_window_without_boxes_costs_its_background_and_nothing_else() -> None:
    terms = detection_loss(two_objects((0.3, -0.9)), labelled(), plain())
    assert terms.as_dict() == {
        "box": 0,
        "dfl": 0,
        "track": 0,
        "cls": pytest.approx(bce(0.3, 0) + bce(-0.9, 0), rel=1e-5),
    }


def test_a_window_without_boxes_has_finite_gradients() -> None:
    parts = two_objects((0.3, -0.9))
    parts.classes.requires_grad_()
    parts.sides.requires_grad_()
    detection_loss(parts, labelled(), plain()).total().backward()
    assert parts.classes.grad is not None
    assert torch.isfinite(parts.classes.grad).all()


def test_a_box_belongs_to_its_own_window() -> None:
    one = exact([0.3])
    # The same prediction in three windows; only the last has the box.
    parts = in_windows(one, 3)
    terms = detection_loss(parts, labelled((2, 0, *BOX), windows=3), plain())
    assert terms.cls.item() == pytest.approx(2 * bce(0.3, 0) + bce(0.3, 1), rel=1e-5)


def test_windows_with_different_numbers_of_boxes_keep_their_own() -> None:
    # Window 0 has one box, window 1 two; each at a point of its own.
    one = two_objects((0.3, -0.9))
    parts = in_windows(one, 2)
    batch = labelled(TWO_BOXES[1], (1, *TWO_BOXES[0][1:]), (1, *TWO_BOXES[1][1:]), windows=2)
    terms = detection_loss(parts, batch, plain())
    # In window 0 the first point is background.
    expected = (bce(0.3, 0) + bce(-0.9, 1) + bce(0.3, 1) + bce(-0.9, 1)) / 3
    assert terms.cls.item() == pytest.approx(expected, rel=1e-5)


def one_image(parts: Predictions, step: int, row: int) -> Predictions:
    sides, classes, embeddings = (
        part[step : step + 1, row : row + 1] for part in (parts.sides, parts.classes, parts.embeddings)
    )
    return Predictions(sides, classes, embeddings, parts.points, parts.strides)


def test_a_batch_costs_what_its_images_cost_together() -> None:
    torch.manual_seed(2)
    T, B = 2, 3
    boxes = [(4.0, 4.0, 20.0, 20.0), (2.0, 4.0, 20.0, 22.0), (4.0, 3.0, 23.0, 20.0)]
    near_one = torch.tensor([0.0, 2.0, 0.0, *[-50.0] * (BINS - 3)])  # sides of about a stride, each its own
    parts = Predictions(
        near_one + torch.randn(T, B, 1, 4, BINS),
        torch.randn(T, B, 1, 2),
        torch.zeros(T, B, 1, EMBEDDING),
        torch.tensor([[12.0, 12.0]]),
        torch.tensor([8.0]),
    )
    fits, alone = 0.0, dict.fromkeys(("box", "cls", "dfl"), 0.0)
    for step, row in itertools.product(range(T), range(B)):
        image = one_image(parts, step, row)
        # One object that fits by less than 1: nothing is divided here.
        terms = detection_loss(image, labelled((0, row % 2, *boxes[row])), plain()).as_dict()
        alone = {name: value + terms[name] for name, value in alone.items()}
        fits += intersection_over_union(image.corners().flatten(), torch.tensor(boxes[row])).item()
    batch = labelled(*((row, row % 2, *boxes[row]) for row in range(B)), steps=T, windows=B)
    together = detection_loss(parts, batch, plain()).as_dict()
    assert fits > 1
    for name, value in alone.items():
        assert together[name] == pytest.approx(value / fits, rel=1e-4)


@pytest.mark.parametrize("name", ["box", "cls", "dfl", "track"])
def test_a_weight_scales_its_own_term_and_no_other(name: str) -> None:
    torch.manual_seed(1)
    parts = along_time(
        [
            predicted([torch.randn(4, BINS)] * 2, [[0.3], [-0.9]], [(12, 12), (60, 12)], embeddings=torch.randn(2, 32))
            for _ in range(2)
        ]
    )
    single, triple = (
        detection_loss(parts, labelled(*TWO_BOXES, steps=2), plain(**{name: weight})).as_dict() for weight in (1.0, 3.0)
    )
    assert all(value > 0 for value in single.values())
    assert triple == {key: pytest.approx(value * (3 if key == name else 1)) for key, value in single.items()}


def test_the_total_is_the_sum_of_the_terms() -> None:
    terms = LossTerms(*(torch.tensor(float(value)) for value in (1, 20, 300, 4000)))
    assert terms.total().item() == 4321


def axes(*places: int, length: float = 1.0) -> torch.Tensor:
    """Unit vectors along these axes, stretched: only directions should count."""
    return torch.eye(EMBEDDING)[list(places)] * length


def test_tracks_that_keep_their_own_direction_cost_next_to_nothing() -> None:
    # Two steps, two tracks on orthogonal axes: a vector's partner is at likeness 1 / .1, both others at 0.
    steps = [two_objects((0.0, 0.0), embeddings=axes(0, 1, length=length)) for length in (1, 7)]
    terms = detection_loss(along_time(steps), labelled(*TWO_BOXES, tracks=[4, 9], steps=2), plain())
    assert terms.track.item() == pytest.approx(-math.log(math.exp(10) / (math.exp(10) + 2)), rel=1e-3)


def test_tracks_that_change_direction_at_every_step_cost_their_closed_form() -> None:
    # Both tracks point along axis 0 first and axis 1 then: the partner is at 0, so is one other, the third at 1 / .1.
    steps = [two_objects((0.0, 0.0), embeddings=axes(axis, axis)) for axis in (0, 1)]
    terms = detection_loss(along_time(steps), labelled(*TWO_BOXES, tracks=[4, 9], steps=2), plain())
    assert terms.track.item() == pytest.approx(math.log(2 + math.exp(10)), rel=1e-5)


def test_a_track_seen_once_has_no_partner_and_costs_nothing() -> None:
    terms = detection_loss(two_objects((0.0, 0.0), embeddings=axes(0, 0)), labelled(*TWO_BOXES, tracks=[4, 9]), plain())
    assert terms.track.item() == 0


def test_every_term_has_a_gradient_that_reaches_the_first_layer() -> None:
    torch.manual_seed(0)
    detector = SpikingDetector(DetectorConfig(), RepresentationConfig(), time_steps=2, classes=2).train()
    frames = torch.randint(0, 4, (2, 2, 2, 64, 64), dtype=torch.uint8)
    rows = (0, 0, 4, 4, 44, 40), (1, 1, 10, 10, 60, 60), (1, 0, 2, 30, 30, 62)
    batch = labelled(*rows, tracks=[1, 2, 3], steps=2, windows=2)
    terms = detection_loss(detector(frames), batch, plain())
    first = next(detector.parameters())
    for name in terms.as_dict():
        (gradient,) = torch.autograd.grad(getattr(terms, name), first, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0, name


def test_tracks_are_told_apart_within_a_recording_only() -> None:
    # Two steps of one object in each of two recordings, all alike: nothing in a recording is there to be told apart.
    steps = [two_objects((0.0, 0.0), embeddings=axes(0, 0)) for _ in range(2)]
    apart = labelled(*TWO_BOXES, tracks=[4, 9 + (1 << 32)], steps=2)
    together = labelled(*TWO_BOXES, tracks=[4, 9], steps=2)
    assert detection_loss(along_time(steps), apart, plain()).track.item() == 0
    # In one recording: one partner and two others at the same likeness.
    assert detection_loss(along_time(steps), together, plain()).track.item() == pytest.approx(math.log(3), rel=1e-5)


def test_an_object_is_compared_with_what_earlier_batches_showed_of_its_recording() -> None:
    loss = DetectionLoss(plain(track_memory=1))
    batch = labelled(*TWO_BOXES, tracks=[4, 9])
    assert loss(two_objects((0.0, 0.0), embeddings=axes(0, 1)), batch).track.item() == 0
    # Now each is alike to its own past, at 1 / .1, and orthogonal to the other one now and then.
    terms = loss(two_objects((0.0, 0.0), embeddings=axes(0, 1)), batch)
    assert terms.track.item() == pytest.approx(math.log(1 + 2 * math.exp(-10)), rel=1e-3)
    # Both swapped: alike to the other's past, and the batch before the last is forgotten.
    swapped = loss(two_objects((0.0, 0.0), embeddings=axes(1, 0)), batch)
    assert swapped.track.item() == pytest.approx(math.log(math.exp(10) + 2), rel=1e-5)


def test_what_is_remembered_takes_no_gradient() -> None:
    loss = DetectionLoss(plain())
    before, now = (axes(0, 1).requires_grad_() for _ in range(2))
    batch = labelled(*TWO_BOXES, tracks=[4, 9])
    loss(two_objects((0.0, 0.0), embeddings=before), batch)
    loss(two_objects((0.0, 0.0), embeddings=now), batch).total().backward()
    assert before.grad is None
    assert now.grad is not None


def test_without_a_memory_a_batch_knows_nothing_of_the_one_before() -> None:
    loss = DetectionLoss(plain(track_memory=0))
    batch = labelled(*TWO_BOXES, tracks=[4, 9])
    costs = [loss(two_objects((0.0, 0.0), embeddings=axes(0, 1)), batch).track.item() for _ in range(2)]
    assert costs == [0, 0]


def test_late_steps_weigh_more_by_their_power() -> None:
    # Steps 1 and 2 of 2 at power 1: .5 and 1, on average 1: 2/3 and 4/3; likewise divided by 2 in the scale.
    batch = labelled((0, 0, *BOX), steps=2)
    terms = detection_loss(along_time([exact([0.3]), exact([-0.9])]), batch, plain(time_weight=1))
    assert terms.cls.item() == pytest.approx((2 / 3 * bce(0.3, 1) + 4 / 3 * bce(-0.9, 1)) / 2, rel=1e-5)


def test_varifocal_loss_weighs_objects_by_their_fit_and_background_by_its_score() -> None:
    # The true box is 16x12 of the predicted 16x16: the target is .75, and so is its weight.
    config = plain(classification="varifocal", focal_alpha=0.6, focal_gamma=2)
    p = 1 / (1 + math.exp(0.9))
    terms = detection_loss(two_objects((0.3, -0.9)), labelled((0, 0, 4, 4, 20, 16)), config)
    assert terms.cls.item() == pytest.approx(0.75 * bce(0.3, 0.75) + 0.6 * p**2 * bce(-0.9, 0), rel=1e-5)


def test_plain_cross_entropy_refuses_a_focus_it_does_not_read() -> None:
    with pytest.raises(ConfigError, match=r"focal_gamma=2.0 but classification=bce does not read it"):
        LossConfig.parse({"classification": "bce", "focal_gamma": 2}, "test")


def test_with_objectness_presence_is_asked_everywhere_and_the_class_where_something_is() -> None:
    # Point 1 answers for the box, whose fit is .75; point 2 for none.
    parts = predicted([one_hot_sides(1, 1, 1, 1)] * 2, [[0.3, -0.2], [-0.9, 0.7]], [(12, 12), (60, 12)])
    present = replace(parts, objectness=torch.tensor([[[1.5, -0.4]]]))
    terms = detection_loss(present, labelled((0, 1, 4, 4, 20, 16)), plain(obj=2))
    assert terms.obj is not None
    assert terms.obj.item() == pytest.approx(2 * (bce(1.5, 0.75) + bce(-0.4, 0)), rel=1e-5)
    assert terms.cls.item() == pytest.approx(0.75 * (bce(0.3, 0) + bce(-0.2, 1)), rel=1e-5)
    assert set(terms.as_dict()) == {"box", "cls", "dfl", "track", "obj"}
    assert terms.total().item() == pytest.approx(sum(terms.as_dict().values()))


def test_a_box_too_small_for_a_point_is_answered_for_within_the_radius() -> None:
    points, strides = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0], [8.0, 8.0]]), torch.tensor([8.0, 8, 8, 16])
    box = torch.tensor([[[5.0, 5, 7, 7]]])  # its centre is (6, 6): 2, 6 and 14 px off the first three, 2 off the last
    assert candidates(points, strides, box, 0).tolist() == [[[False, False, False, False]]]
    assert candidates(points, strides, box, 0.5).tolist() == [[[True, False, False, True]]]
    assert candidates(points, strides, box, 1).tolist() == [[[True, True, False, True]]]


def test_a_radius_lets_points_outside_a_box_learn_it() -> None:
    # From (12, 12) the box of 6 px around (15, 15) begins 0 strides off: the point lies on its corner, not in it.
    batch = labelled((0, 0, 12, 12, 18, 18))
    without, within = (detection_loss(exact([0.3]), batch, plain(assign_radius=radius)) for radius in (0, 1))
    assert without.box.item() == 0
    assert within.box.item() > 0


def test_the_loss_on_the_mean_is_that_of_the_mean_answer_and_the_last_steps_boxes() -> None:
    first = predicted([one_hot_sides(1, 1, 1, 1) * 0.5], [[1.0, -3.0]], [(12, 12)])
    last = predicted([one_hot_sides(1, 1, 1, 1) * 1.5], [[0.0, 1.0]], [(12, 12)])
    batch = labelled((0, 0, *BOX), steps=2)
    batch.targets[0, 2:] = torch.tensor([40.0, 40.0, 60.0, 60.0])  # where it was at the first step
    batch.targets[0, 1] = 1
    found = detection_loss(along_time([first, last]), batch, plain(over_time="mean"))
    # The mean of the logits is 0.5 and -1, and its box is BOX; the overlap with the only box is 1, so the quality is 1.
    assert found.as_dict()["cls"] == pytest.approx(bce(0.5, 1) + bce(-1.0, 0), rel=1e-5)
    assert found.as_dict()["box"] == pytest.approx(0.0, abs=1e-5)


def test_the_loss_on_the_mean_is_nothing_where_the_last_step_is_not_labelled() -> None:
    batch = labelled((0, 0, *BOX), steps=2)
    batch.labelled[1] = False
    nothing = replace(batch, targets=batch.targets[:1], tracks=batch.tracks[:1])
    found = detection_loss(along_time([exact([1.0]), exact([1.0])]), nothing, plain(over_time="mean"))
    assert float(found.total()) == 0


def test_steps_are_not_weighed_where_the_loss_is_on_their_mean() -> None:
    with pytest.raises(ConfigError, match=r"time_weight=1.0 but over_time=mean leaves one answer a window"):
        plain(over_time="mean", time_weight=1.0)
