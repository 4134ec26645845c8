"""Who goes when and how fast: arrivals, a traffic light, and the Intelligent Driver Model (Treiber et al. 2000)."""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data.simulator.junction import Phase, Route, Traveller, routes

STEP_S = 0.02
WARM_UP_S = 16.0  # longer than anybody takes to cross, so that the street is full when the recording starts
# Green and clearing times of the two phases. Short: a recording of six seconds sees both.
GREEN_S, CLEAR_S = {Phase.MAIN: 3.2, Phase.SIDE: 3.0}, 0.5
# Nobody loses more time at the light, braking included: who would enters later. An event camera sees nothing of those
# who stand, and boxes without events teach nothing.
LONGEST_WAIT_S = 1.3
DELAY_S = 0.8  # by which slower traffic in front may hold somebody up

# Shares of those on screen. Buses are more frequent than in life, so that a short recording holds one.
SHARES = {Traveller.CAR: 0.36, Traveller.PEDESTRIAN: 0.28, Traveller.BICYCLE: 0.20, Traveller.BUS: 0.16}
# Free speed in frame heights a second at scale 1, slowest and fastest: 0.75 is about 12 m/s, a pedestrian's is 4 m/s.
SPEEDS = {
    Traveller.CAR: (0.62, 0.92),
    Traveller.PEDESTRIAN: (0.17, 0.27),
    Traveller.BICYCLE: (0.36, 0.52),
    Traveller.BUS: (0.5, 0.68),
}
LENGTHS = {Traveller.CAR: 0.28, Traveller.PEDESTRIAN: 0.05, Traveller.BICYCLE: 0.21, Traveller.BUS: 0.56}
# Acceleration and braking are livelier than in life, for stops that fit into a short recording.
ACCELERATION, BRAKING, HARDEST_BRAKING = 0.8, 1.1, 2.2  # frame heights per second squared
GAP, HEADWAY_S = 0.04, 0.35  # to the one in front: at rest, and per speed


@dataclass(frozen=True)
class Journey:
    """One traveller's way along its route: `travelled` [K] at the times `t_s` [K]."""

    kind: Traveller
    route: Route
    t_s: npt.NDArray[np.float64]
    travelled: npt.NDArray[np.float64]


@dataclass
class _Driver:
    kind: Traveller
    route: Route
    start_s: float
    free_speed: float
    patience_s: float  # how long it waits at the light
    speed: float = 0.0
    travelled: float = 0.0
    entered_s: float = 0.0
    log: list[float] = field(default_factory=list)

    @property
    def half(self) -> float:
        return LENGTHS[self.kind] / 2

    def arrives_well(self, light: "Light", t_s: float) -> bool:
        """Whether, entering now, it need not wait longer at the light than it likes to."""
        there_s = t_s + self.route.stop / self.free_speed
        return all(light.wait_s(self.route.phase, there_s + late_s) <= self.patience_s for late_s in (0.0, DELAY_S))

    def gap_to(self, leader: "_Driver") -> float:
        return leader.travelled - leader.half - self.travelled - self.half

    def move(self, leader: "_Driver | None", green: bool) -> None:
        """One step of the model; a red light is a leader at rest, unless it is too late to brake."""
        slowing = 0.0
        if leader is not None:
            slowing = self._slowing(self.gap_to(leader), leader.speed)
        line = self.route.stop - self.half - self.travelled
        if not green and line > 0 and self.speed**2 / (2 * line) < HARDEST_BRAKING:
            slowing = max(slowing, self._slowing(line + GAP, 0.0))
        change = ACCELERATION * (1 - (self.speed / self.free_speed) ** 4 - slowing)
        self.speed = max(0.0, self.speed + STEP_S * max(change, -2 * HARDEST_BRAKING))
        self.travelled += STEP_S * self.speed
        self.log.append(self.travelled)

    def _slowing(self, gap: float, leader_speed: float) -> float:
        approach = self.speed * (self.speed - leader_speed) / (2 * math.sqrt(ACCELERATION * BRAKING))
        wanted = GAP + max(0.0, self.speed * HEADWAY_S + approach)
        return float((wanted / max(gap, 0.01)) ** 2)

    def journey(self) -> Journey:
        times = self.entered_s + STEP_S * np.arange(len(self.log), dtype=np.float64)
        return Journey(self.kind, self.route, np.asarray(times, np.float64), np.array(self.log))


@dataclass(frozen=True)
class Light:
    """A traffic light of two phases; `offset_s` into its cycle at time 0."""

    offset_s: float

    @property
    def cycle_s(self) -> float:
        """How long until it repeats."""
        return sum(GREEN_S.values()) + 2 * CLEAR_S

    def wait_s(self, phase: Phase, t_s: float) -> float:
        """Seconds from this time until the phase has green; 0 while it has."""
        starts_s = 0.0 if phase is Phase.MAIN else GREEN_S[Phase.MAIN] + CLEAR_S
        since_s = (t_s + self.offset_s - starts_s) % self.cycle_s
        return 0.0 if since_s < GREEN_S[phase] else self.cycle_s - since_s


def plan(density: float, duration_s: float, aspect: float, rng: np.random.Generator) -> list[Journey]:
    """The journeys that touch a recording: about `density` travellers are on screen at any time.

    `aspect` is the frame's width per height.
    """
    light = Light(rng.uniform(0, Light(0).cycle_s))
    waiting: list[_Driver] = []
    for kind, share in SHARES.items():
        waiting += _arrivals(kind, density * share, duration_s, aspect, rng)
    waiting.sort(key=lambda driver: driver.start_s)
    journeys = [driver.journey() for driver in _drive(waiting, light, duration_s)]
    return [journey for journey in journeys if journey.t_s[-1] > 0]


def _arrivals(
    kind: Traveller, on_screen: float, duration_s: float, aspect: float, rng: np.random.Generator
) -> list[_Driver]:
    """Little's law gives the rate; arrivals are spread evenly with jitter, so that short recordings differ less."""
    slow, fast = SPEEDS[kind]
    ways = routes(kind, aspect, rng)
    stay_s = np.mean([way.share_seen(aspect) * way.length[-1] for way in ways]) / ((slow + fast) / 2)
    every_s = (stay_s + LONGEST_WAIT_S / 2) / on_screen  # a stop costs about so much on average
    drivers = []
    for number in range(int((WARM_UP_S + duration_s) / every_s)):
        ways = routes(kind, aspect, rng)
        way, speed = ways[rng.integers(len(ways))], rng.uniform(slow, fast)
        start_s = (number + rng.random()) * every_s - WARM_UP_S
        drivers.append(_Driver(kind, way, start_s, speed, rng.uniform(0, LONGEST_WAIT_S)))
    return drivers


def _drive(waiting: list[_Driver], light: Light, duration_s: float) -> list[_Driver]:
    """Move everybody from the start of the warm-up to the end; returns all who entered."""
    entered: list[_Driver] = []
    lanes: dict[str, list[_Driver]] = {}
    for step in range(round((WARM_UP_S + duration_s) / STEP_S) + 2):
        t_s = step * STEP_S - WARM_UP_S
        held = []
        for driver in waiting:
            queue = lanes.setdefault(driver.route.lane, [])
            blocked = bool(queue) and _queues(driver) and driver.gap_to(queue[-1]) < 3 * GAP
            if driver.start_s > t_s or blocked or not driver.arrives_well(light, t_s):
                held.append(driver)
                continue
            driver.entered_s = t_s
            driver.speed = min(driver.free_speed, queue[-1].speed) if queue and _queues(driver) else driver.free_speed
            queue.append(driver)
            entered.append(driver)
        waiting = held
        for queue in lanes.values():
            for place, driver in enumerate(queue):
                leader = queue[place - 1] if place and _queues(driver) else None
                driver.move(leader, light.wait_s(driver.route.phase, t_s) == 0)
            queue[:] = [driver for driver in queue if driver.travelled < driver.route.length[-1]]
    return entered


def _queues(driver: _Driver) -> bool:
    """Pedestrians walk past each other."""
    return driver.kind is not Traveller.PEDESTRIAN
