"""The profile of a detector: stages, energy against the ReLU twin, latency, the figure."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch

from data.errors import ConfigError
from data.representation import RepresentationConfig
from model.detector import SpikingDetector
from model.profiling.figure import write_profile_figure
from model.profiling.latency import call_times_ms, percentile
from model.profiling.profile import Profile, profile_detector
from model.profiling.untrained import synthetic_frames, untrained_detector
from model.trial_config import TrialConfig

CLASSES = 3


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return synthetic_frames(RepresentationConfig(), 4, 2, 64, 96, seed=3)


def detector_of(neuron: str, frames: torch.Tensor) -> SpikingDetector:
    return untrained_detector(TrialConfig().with_leaves({"model.neuron.name": neuron}, "here"), CLASSES, frames)


@pytest.fixture(scope="module")
def profile(frames: torch.Tensor) -> Profile:
    return profile_detector(detector_of("ilif", frames), frames)


@pytest.fixture(scope="module")
def twin(frames: torch.Tensor) -> Profile:
    return profile_detector(detector_of("relu", frames), frames)


def test_every_layer_lies_in_exactly_one_stage(profile: Profile) -> None:
    names = [stage.name for stage in profile.stages]
    assert names[:5] == ["backbone.stem", *(f"backbone.stages.{i}" for i in range(3)), "backbone.context"]
    assert names[-6:] == [f"head.{branch}.{level}" for branch in ("box", "category") for level in range(3)]
    for layer in profile.layers:
        assert sum(layer.name.startswith(f"{name}.") for name in names) == 1
    assert profile.macs == sum(layer.macs for layer in profile.layers)
    assert sum(stage.parameters for stage in profile.stages) == profile.parameters


def test_the_stem_costs_what_pencil_and_paper_say(profile: Profile) -> None:
    stem = profile.stages[0]
    # Nano: 24 channels of 7x7 kernels over 2 polarities, at every fourth pixel of 64x96, four steps.
    macs = 4 * (16 * 24) * 24 * (7 * 7 * 2)
    assert stem.macs == stem.multiplied == macs
    assert stem.energy_pj == stem.twin_energy_pj == pytest.approx(4.6 * macs)
    assert stem.cio == 4 * (2 * 64 * 96 + 24 * 16 * 24)
    assert stem.firing_rate is None


def test_behind_the_stem_spikes_only_add(profile: Profile) -> None:
    for stage in profile.stages[1:]:
        assert stage.multiplied == 0
        assert stage.energy_pj == pytest.approx(0.9 * stage.synops)
        assert stage.twin_energy_pj == pytest.approx(4.6 * stage.macs)
        assert 0 < stage.synops < 4 * stage.macs  # a count is 4 at most


def test_synops_are_macs_times_the_mean_count_of_the_neurons_before_the_layer(profile: Profile) -> None:
    layers = {layer.name: layer for layer in profile.layers}
    for neuron, convolution in (
        ("backbone.stages.0.0.0", "backbone.stages.0.0.1"),
        ("head.box.1.spikes.1", "head.box.1.readout"),
    ):
        expected = layers[convolution].macs * profile.firing_rates[neuron]
        assert layers[convolution].accumulated == pytest.approx(expected, abs=1)


def test_the_twin_named_in_a_profile_costs_what_the_real_one_does(profile: Profile, twin: Profile) -> None:
    assert twin.energy_pj == pytest.approx(profile.twin_energy_pj)
    assert twin.energy_ratio == pytest.approx(1)
    assert twin.synops == 0
    assert profile.energy_ratio == pytest.approx(profile.energy_pj / twin.energy_pj)


def test_the_neurons_own_arithmetic_is_paid_by_one_ratio_only(profile: Profile) -> None:
    paid = (profile.energy_ratio_with_neurons - profile.energy_ratio) * profile.twin_energy_pj
    assert paid == pytest.approx(profile.neuron_flops * 2.3)
    assert profile.neuron_flops > 0


def test_the_peak_is_the_dearest_and_the_balance_its_ratio_to_the_mean(profile: Profile) -> None:
    macs = [stage.macs for stage in profile.stages]
    assert profile.peak_stage.macs == max(macs)
    assert profile.balance == pytest.approx(max(macs) / (sum(macs) / len(macs)))
    assert profile.peak_layer.macs == max(layer.macs for layer in profile.layers)


def test_four_times_the_pixels_cost_four_times_the_operations_and_the_traffic(profile: Profile) -> None:
    frames = synthetic_frames(RepresentationConfig(), 4, 1, 128, 192, seed=3)
    larger = profile_detector(detector_of("ilif", frames), frames)
    assert larger.macs == 4 * profile.macs
    assert larger.cio == 4 * profile.cio
    assert larger.parameters == profile.parameters


def test_profiling_leaves_the_detector_as_it_was(frames: torch.Tensor) -> None:
    detector = detector_of("ilif", frames).train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    profile_detector(detector, frames, latency_runs=1)
    assert detector.training
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_latency_is_timed_where_it_is_asked_for(frames: torch.Tensor, profile: Profile) -> None:
    assert profile.latency is None
    timed = profile_detector(detector_of("relu", frames), frames, latency_runs=2).latency
    assert timed is not None
    assert (timed.runs, timed.device, timed.threads) == (2, "cpu", torch.get_num_threads())
    assert 0 < timed.p50_ms <= timed.p99_ms


def test_calls_are_timed_after_the_warm_up_and_between_waits() -> None:
    happened: list[str] = []

    def clock() -> Iterator[int]:
        for reading in (0, 3_000_000, 10_000_000, 15_500_000):
            happened.append("clock")
            yield reading

    readings = clock()
    times = call_times_ms(
        lambda: happened.append("call"),
        runs=2,
        warm_up=1,
        synchronize=lambda: happened.append("wait"),
        clock_ns=lambda: next(readings),
    )
    assert times == [3.0, 5.5]
    assert happened == ["call", *(["wait", "clock", "call", "wait", "clock"] * 2)]


def test_percentiles_are_values_that_were_measured() -> None:
    hundred = [float(value) for value in range(100, 0, -1)]
    assert (percentile(hundred, 50), percentile(hundred, 99), percentile(hundred, 100)) == (50, 99, 100)
    assert percentile([1.0, 2.0, 9.0], 50) == 2
    assert percentile([1.0, 2.0, 9.0], 99) == 9
    assert percentile([7.0], 50) == 7


def test_no_run_tells_no_latency() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        call_times_ms(lambda: None, 0, 0, lambda: None)


def test_the_profile_is_json(profile: Profile) -> None:
    told = json.loads(json.dumps(profile.as_dict()))
    assert told["energy_ratio"] == profile.energy_ratio
    assert told["energy_pj_per_step"] == profile.energy_pj / 4
    assert told["peak_stage"] == profile.peak_stage.name
    assert len(told["stages"]) == len(profile.stages)


def test_the_figure_is_a_png_with_a_bar_for_each_stage(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "profile.png"
    write_profile_figure(profile, path, "a title")
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape[1] == 16 * 110
    blue = (image == (164, 101, 52)).all(axis=2)  # BGR of this net's bars
    assert blue.sum() > 1000
    assert [each.name for each in tmp_path.iterdir()] == ["profile.png"]
