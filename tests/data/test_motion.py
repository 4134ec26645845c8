"""Traffic: who goes when."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from data.simulator.junction import MAIN_ROAD, Phase, Traveller, routes, scale
from data.simulator.motion import STEP_S, Journey, Light, plan

ASPECT = 16 / 9


@pytest.fixture(scope="module")
def journeys() -> list[list[Journey]]:
    return [plan(5.0, 6.0, ASPECT, np.random.default_rng(seed)) for seed in range(10)]


def recorded(journey: Journey) -> npt.NDArray[np.bool_]:
    return (journey.t_s >= 0) & (journey.t_s < 6)


def test_about_density_travellers_are_on_screen(journeys: list[list[Journey]]) -> None:
    seen = 0.0
    for journey in (journey for recording in journeys for journey in recording):
        route = journey.route
        x, row = (np.interp(journey.travelled, route.length, along) for along in (route.x, route.row))
        inside = (np.abs(x) * scale(row) < ASPECT / 2) & (row > 0) & (row < 1)
        seen += np.count_nonzero(inside & recorded(journey)) * STEP_S
    assert 4.0 < seen / (6.0 * len(journeys)) < 6.0


def test_some_travellers_stop_and_nobody_stands_longer_than_a_second(journeys: list[list[Journey]]) -> None:
    longest = []
    for journey in (journey for recording in journeys for journey in recording):
        still = np.diff(journey.travelled) < 0.03 * STEP_S
        edges = np.flatnonzero(np.diff(np.concatenate([[0], still, [0]]).astype(int)))
        longest.append(max((edges[1::2] - edges[::2]) * STEP_S, default=0.0))
    assert max(longest) <= 1.3
    assert np.mean(np.array(longest) > 0.2) > 0.1


def test_nobody_drives_backwards_or_jumps(journeys: list[list[Journey]]) -> None:
    for journey in (journey for recording in journeys for journey in recording):
        steps = np.diff(journey.travelled)
        assert steps.min() >= 0
        assert steps.max() <= 0.95 * STEP_S  # the fastest car goes 0.92 frame heights a second


def test_those_in_one_lane_do_not_drive_through_each_other(journeys: list[list[Journey]]) -> None:
    for recording in journeys:
        lanes: dict[str, list[Journey]] = {}
        for journey in recording:
            if journey.kind is not Traveller.PEDESTRIAN:
                lanes.setdefault(journey.route.lane, []).append(journey)
        for lane in lanes.values():
            lane.sort(key=lambda journey: journey.t_s[0])
            for ahead, behind in pairwise(lane):
                common = behind.t_s[behind.t_s <= ahead.t_s[-1]]
                gap = np.interp(common, ahead.t_s, ahead.travelled) - np.interp(common, behind.t_s, behind.travelled)
                assert gap.min(initial=1.0) > 0.15


def test_every_kind_is_in_every_few_recordings(journeys: list[list[Journey]]) -> None:
    for first in range(0, 10, 5):
        kinds = {journey.kind for recording in journeys[first : first + 5] for journey in recording}
        assert kinds == set(Traveller)


def test_the_light_gives_each_phase_its_turn() -> None:
    light = Light(0.0)  # main green 0 to 3.2, side green 3.7 to 6.7, cycle 7.2
    assert light.cycle_s == pytest.approx(7.2)
    assert light.wait_s(Phase.MAIN, 1.0) == 0
    assert light.wait_s(Phase.SIDE, 1.0) == pytest.approx(2.7)
    assert light.wait_s(Phase.MAIN, 3.5) == pytest.approx(3.7)
    assert light.wait_s(Phase.SIDE, 7.3) == pytest.approx(3.6)
    assert Light(1.0).wait_s(Phase.SIDE, 0.0) == pytest.approx(2.7)


@pytest.mark.parametrize("kind", list(Traveller))
def test_routes_are_smooth_and_begin_and_end_out_of_sight(kind: Traveller) -> None:
    for route in routes(kind, ASPECT, np.random.default_rng(0)):
        assert np.all(np.diff(route.length) > 0)
        assert np.abs(np.diff(route.heading)).max() < 0.25
        for end in (0, -1):
            x, row = route.x[end] * float(scale(route.row[end])), route.row[end]
            assert abs(x) > ASPECT / 2 or row < 0 or row > 1
        assert 0 < route.stop < route.length[-1]


def test_cars_turn_and_pedestrians_cross_the_road() -> None:
    turns = {
        round(float(route.heading[-1] - route.heading[0]) / (np.pi / 2))
        for route in routes(Traveller.CAR, ASPECT, np.random.default_rng(0))
    }
    assert turns == {-1, 0, 1}
    crossing = [
        route
        for route in routes(Traveller.PEDESTRIAN, ASPECT, np.random.default_rng(0))
        if route.row.min() < MAIN_ROAD[0] and route.row.max() > MAIN_ROAD[1]
    ]
    assert crossing
