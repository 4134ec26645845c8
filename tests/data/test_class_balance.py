import numpy as np
import pytest

from data.class_balance import balanced_weights


def test_classes_weigh_in_inverse_proportion_to_their_boxes() -> None:
    # 80 boxes of 2 classes are 40 each if they were even: 40 / 60 and 40 / 20.
    assert balanced_weights(np.array([60, 20])).tolist() == pytest.approx([2 / 3, 2.0])


def test_a_class_without_a_box_weighs_one_and_does_not_count_as_a_class() -> None:
    assert balanced_weights(np.array([60, 0, 20])).tolist() == pytest.approx([2 / 3, 1.0, 2.0])


def test_a_class_of_a_handful_of_boxes_weighs_at_most_ten() -> None:
    assert balanced_weights(np.array([10_000, 1])).tolist() == pytest.approx([0.50005, 10.0])


def test_without_any_box_all_weigh_one() -> None:
    assert balanced_weights(np.array([0, 0])).tolist() == [1.0, 1.0]
