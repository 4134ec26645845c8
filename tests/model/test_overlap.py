import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from model.overlap import complete_iou, intersection_over_union


def boxes_xywh(seed: int, count: int) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    return np.concatenate([random.uniform(-50, 50, (count, 2)), random.uniform(0.01, 90, (count, 2))], axis=1)


def corners(xywh: npt.NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_iou_equals_that_of_pycocotools(seed: int) -> None:
    a, b = boxes_xywh(seed, 5), boxes_xywh(seed + 1, 4)
    ours = intersection_over_union(corners(a)[:, None], corners(b)[None])
    np.testing.assert_allclose(ours.numpy(), mask.iou(a, b, [0] * 4), atol=1e-9)


def test_boxes_that_touch_and_boxes_without_area_do_not_overlap() -> None:
    a = torch.tensor([[0.0, 0, 4, 4], [3, 3, 3, 3], [0, 0, 9, 9]])
    b = torch.tensor([[4.0, 0, 8, 4], [3, 3, 3, 3], [3, 3, 3, 3]])
    assert intersection_over_union(a, b).tolist() == [0, 0, 0]


def test_ciou_of_two_boxes_worked_out_by_hand() -> None:
    # 4x2 at the origin and 4x4 at (1, 0): 6 common of 18; centres (2, 1) and (3, 2); hull 5x4.
    iou, distance = 6 / 18, 2 / (5**2 + 4**2)
    aspect = 4 / math.pi**2 * (math.atan(4 / 2) - math.atan(4 / 4)) ** 2
    expected = iou - distance - aspect**2 / (1 - iou + aspect)
    found = complete_iou(torch.tensor([0.0, 0, 4, 2]), torch.tensor([1.0, 0, 5, 4]))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_ciou_of_distant_boxes_of_one_shape_is_the_centre_distance_alone() -> None:
    # Centres 9 apart in x, hull 10x1.
    found = complete_iou(torch.tensor([0.0, 0, 1, 1]), torch.tensor([9.0, 0, 10, 1]))
    assert found.item() == pytest.approx(-81 / 101)


def test_ciou_of_a_box_with_itself_is_one() -> None:
    box = torch.tensor([3.0, 4, 10, 50])
    assert complete_iou(box, box).item() == pytest.approx(1)


def test_the_gradient_of_ciou_is_finite_for_boxes_without_area() -> None:
    found = torch.tensor([[5.0, 5, 5, 5], [0, 0, 8, 0]], requires_grad=True)
    complete_iou(found, torch.tensor([[5.0, 5, 5, 5], [2, 2, 6, 6]])).sum().backward()
    assert found.grad is not None
    assert torch.isfinite(found.grad).all()
