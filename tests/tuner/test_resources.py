"""How many trials fit into what Ray has, and what one of them reserves."""

import pytest
import ray

from data.errors import ConfigError
from tuner.cluster import concurrency, of_the_trial
from tuner.spec.sections import Resources


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 8 CPUs and 4 GPUs."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 4.0, "memory": 1e9})


@pytest.mark.parametrize(
    ("given", "fit"),
    [
        ({"cpus": 1}, 8),
        ({"cpus": 3}, 2),
        ({"cpus": 1, "gpus": 0.5}, 8),
        ({"cpus": 1, "gpus": 1}, 4),
        ({"cpus": 1, "gpus": 2}, 2),
        ({"cpus": 3, "gpus": 2}, 1),  # 2 processes of 3 CPUs each
        ({"cpus": 1, "processes": 3}, 2),
        ({"cpus": 1, "processes": 3, "max_concurrent": 1}, 1),
        ({"cpus": 1, "max_concurrent": 20}, 8),
    ],
)
@pytest.mark.usefixtures("machine")
def test_as_many_trials_run_as_fit_with_all_their_processes(given: dict[str, float], fit: int) -> None:
    assert concurrency(Resources.parse(given, "test")) == fit


@pytest.mark.usefixtures("machine")
def test_a_trial_that_does_not_fit_is_refused_with_what_its_processes_need() -> None:
    told = r"a trial needs 10 cpus \(5 for each of 2 processes\) and 2 gpus, but there are 8 and 4"
    with pytest.raises(ConfigError, match=told):
        concurrency(Resources(cpus=5, gpus=2))


def test_a_trial_that_others_train_for_takes_neither_cpu_nor_gpu_itself() -> None:
    assert of_the_trial(Resources(cpus=2, gpus=0.5)) == {"cpu": 2, "gpu": 0.5}
    waiting = of_the_trial(Resources(cpus=2, gpus=2))
    assert (waiting["cpu"], waiting["gpu"]) == (0, 0)
