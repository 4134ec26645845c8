"""Promotion against a real MLflow on SQLite: who becomes champion, and that nothing happens twice."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from scipy import stats

from data.boxes import Boxes, LabelSet, label_set
from data.dataset import Dataset
from data.errors import DatasetError, InputError
from data.events import Events, SensorSize
from data.manifest import Split
from tests.tuner.promoted_search import Scripted, make_search
from tuner.intervals import mean_interval
from tuner.promotion import challenger_run
from tuner.promotion.noise import compare
from tuner.promotion.promote import ALREADY, Outcome, Wish, promote
from tuner.promotion.registry import Registry
from tuner.promotion.state import BETTER, FIRST, REFUSED
from tuner.store import MODEL

pytestmark = [  # of MLflow's own: as its module of models is imported, and under pandas 3
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

SIZE = SensorSize(96, 64)
Write = Callable[[Path, Sequence[Any], SensorSize, LabelSet], Dataset]


def recording(seed: int) -> tuple[Events, Boxes]:
    """A second of noise, and a box every 100 ms."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, 1_000_000, 4000))
    x, y = random.integers(0, 96, 4000).astype(np.uint16), random.integers(0, 64, 4000).astype(np.uint16)
    times = np.arange(100_000, 1_000_000, 100_000)
    xywh = np.tile(np.array([[10, 10, 30, 20]], np.float32), (len(times), 1))
    ids = np.zeros(len(times), np.int64)
    return Events(t, x, y, random.integers(0, 2, 4000).astype(np.uint8)), Boxes(times, xywh, ids, ids + 1)


def written(folder: Path, first_seed: int, make_take: Any, write_dataset: Write) -> Dataset:
    takes = [
        make_take(f"{split.value}_day_0001", split, *recording(first_seed + place), False)
        for place, split in enumerate(Split)
    ]
    return write_dataset(folder, takes, SIZE, label_set("gen1"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, make_take: Any, write_dataset: Write) -> Dataset:
    return written(tmp_path_factory.mktemp("one"), 0, make_take, write_dataset)


@pytest.fixture(scope="module")
def other_dataset(tmp_path_factory: pytest.TempPathFactory, make_take: Any, write_dataset: Write) -> Dataset:
    return written(tmp_path_factory.mktemp("other"), 100, make_take, write_dataset)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of MLflow, made once: a database takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store of the test's own."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Costs are made up, and the model is one that says nothing: both take seconds, and are not what is tested."""
    script = tmp_path / "empty_model.py"
    script.write_text(
        "import mlflow\n"
        "class Empty(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input: list[str], params=None) -> list[str]:\n"
        "        return model_input\n"
        "mlflow.models.set_model(Empty())\n"
    )

    def log_model(*_: Any) -> str:
        logged = mlflow.pyfunc.log_model(name="detector", python_model=str(script), pip_requirements=["mlflow"])
        return str(logged.model_id)

    before = {"parameters": 1e6, "macs": 1e8, "latency_ms": 5.0}
    after = {"energy_uj": 90.0, "synops": 7e7, "firing_rate": 0.2}
    monkeypatch.setattr(challenger_run, "log_detector", log_model)
    monkeypatch.setattr(challenger_run, "costs_before", lambda *_: before)
    monkeypatch.setattr(challenger_run, "costs_after", lambda *_: after)


def promoted(folder: Path, evaluate: Scripted, **wish: Any) -> Outcome:
    return promote(Wish(folder, **wish), lambda _: None, evaluate=evaluate)


def versions(client: MlflowClient) -> list[str]:
    found = client.search_model_versions(f"name = '{MODEL}'")
    return sorted(str(version.version) for version in found)


def champion(client: MlflowClient) -> str:
    return str(client.get_model_version_by_alias(MODEL, "champion").version)


def runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("spiketune")
    return list(client.search_runs([experiment.experiment_id], "tags.kind = 'promotion'"))


def everything(client: MlflowClient) -> list[Any]:
    """All that a further promotion could change."""
    told = [
        (run.info.run_id, run.info.status, run.data.tags, run.data.metrics, run.data.params) for run in runs(client)
    ]
    return [versions(client), champion(client), told]


def test_the_first_champion_is_accepted_with_its_numbers_and_a_second_call_changes_nothing(
    tmp_path: Path, client: MlflowClient, dataset: Dataset
) -> None:
    search = make_search(tmp_path / "search", dataset, repeats=2)
    evaluate = Scripted({1: 0.40, 2: 0.44})
    outcome = promoted(search, evaluate)
    assert (outcome.verdict, outcome.version, outcome.seeds) == (FIRST, "1", (1, 2))
    assert evaluate.calls == [(1, dataset.digest), (2, dataset.digest)]  # the winner's own seed 0 is left out
    version = client.get_model_version_by_alias(MODEL, "champion")
    assert {name: version.tags[name] for name in ("search_id", "trial", "seeds", "registered_seed")} == {
        "search_id": "tiny-0", "trial": "1", "seeds": "1 2", "registered_seed": "2",
    }  # fmt: skip
    assert version.tags["dataset_digest"] == dataset.digest
    assert float(version.tags["test_map"]) == pytest.approx(0.42)
    assert json.loads(version.tags["test_map_values"]) == [0.40, 0.44]
    (run,) = runs(client)
    assert run.info.status == "FINISHED"
    # s = .02 sqrt(2), n = 2: the margin is t(.975, 1) = 12.706 times .02.
    assert run.data.metrics["test_map_high"] == pytest.approx(0.42 + 12.706205 * 0.02)
    assert {"parameters", "energy_uj", "latency_ms"} <= run.data.metrics.keys()
    before = everything(client)
    again = promoted(search, evaluate)
    assert (again.verdict, again.version, again.run_id) == (ALREADY, "1", run.info.run_id)
    assert everything(client) == before
    assert len(evaluate.calls) == 2
    assert (again.looks_of_search, again.looks_of_model) == (2, 2)
    card = version.description
    for told in ("mAP | 0.4200", "Finds car and pedestrian", "Never seen in training: pedestrian", dataset.digest):
        assert told in card


def test_a_challenger_inside_the_noise_is_refused_and_keeps_its_record(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset
) -> None:
    evaluate = Scripted({1: 0.50, 2: 0.52, 3: 0.54, 11: 0.53, 12: 0.56, 13: 0.52})
    promoted(make_search(tmp_path / "first", dataset, repeats=3), evaluate)
    second = make_search(tmp_path / "second", dataset, repeats=3, first_seed=10)
    outcome = promoted(second, evaluate)
    assert (outcome.verdict, outcome.version) == (REFUSED, None)
    expected = stats.ttest_ind([0.53, 0.56, 0.52], [0.50, 0.52, 0.54], equal_var=False, alternative="greater").pvalue
    assert outcome.decision.p_value == pytest.approx(expected)
    assert expected > 0.05
    assert (versions(client), champion(client)) == (["1"], "1")
    loser = client.get_run(outcome.run_id)
    assert loser.data.tags["verdict"] == REFUSED
    assert loser.data.metrics["p_value"] == pytest.approx(expected)
    assert loser.data.metrics["difference"] == pytest.approx((1.61 - 1.56) / 3)
    before = everything(client)
    assert promoted(second, evaluate).verdict == REFUSED
    after = everything(client)
    assert [[*after[:2]], len(after[2])] == [[*before[:2]], len(before[2])]
    assert len(evaluate.calls) == 6


def test_a_challenger_beyond_the_noise_takes_the_alias(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset
) -> None:
    evaluate = Scripted({1: 0.40, 2: 0.41, 3: 0.42, 11: 0.44, 12: 0.45, 13: 0.46})
    first = make_search(tmp_path / "first", dataset, repeats=3)
    promoted(first, evaluate)
    outcome = promoted(make_search(tmp_path / "second", dataset, repeats=3, first_seed=10), evaluate)
    assert (outcome.verdict, outcome.version) == (BETTER, "2")
    # Both have a variance of .0001 and three values: t = .04 / sqrt(2 * .0001 / 3), four degrees of freedom.
    assert outcome.decision.p_value == pytest.approx(stats.t.sf(0.04 / math.sqrt(2e-4 / 3), 4))
    assert (versions(client), champion(client)) == (["1", "2"], "2")
    # The one that was beaten is not registered again, and does not come back by asking once more.
    back = promoted(first, evaluate)
    assert (back.verdict, back.decision.champion) == (REFUSED, "2")
    assert (versions(client), champion(client)) == (["1", "2"], "2")
    assert len(evaluate.calls) == 6


def test_a_champion_measured_on_another_test_set_is_measured_on_this_one_once(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset, other_dataset: Dataset
) -> None:
    promoted(make_search(tmp_path / "first", dataset, repeats=2), Scripted({1: 0.80, 2: 0.82}))
    # On the other recordings both are worse, and the champion is the worst.
    evaluate = Scripted({1: 0.30, 2: 0.31, 11: 0.60, 12: 0.61, 21: 0.62, 22: 0.63})
    outcome = promoted(make_search(tmp_path / "second", other_dataset, repeats=2, first_seed=10), evaluate)
    assert (outcome.verdict, outcome.decision.champion_values) == (BETTER, (0.30, 0.31))
    assert evaluate.calls == [(seed, other_dataset.digest) for seed in (11, 12, 1, 2)]
    # The registry keeps it: measured once for all searches on these recordings.
    client.set_registered_model_alias(MODEL, "champion", "1")
    third = promoted(make_search(tmp_path / "third", other_dataset, repeats=2, first_seed=20), evaluate)
    assert third.decision.champion_values == (0.30, 0.31)
    assert [seed for seed, _ in evaluate.calls[4:]] == [21, 22]


@pytest.mark.parametrize("step", ["run_of", "record", "upload_as", "close", "log_detector", "register", "crown"])
def test_a_promotion_killed_after_any_step_ends_the_same(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    search = make_search(tmp_path / "search", dataset, repeats=2)
    evaluate = Scripted({1: 0.40, 2: 0.44})
    owner: Any = challenger_run if step == "log_detector" else Registry
    real = getattr(owner, step)

    def dying(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, dying)
        with pytest.raises(KeyboardInterrupt):
            promoted(search, evaluate)
    outcome = promoted(search, evaluate)
    assert outcome.version == "1"
    assert (versions(client), champion(client)) == (["1"], "1")
    (run,) = runs(client)
    assert (run.info.status, run.data.metrics["test_map"]) == ("FINISHED", pytest.approx(0.42))
    assert len(run.outputs.model_outputs) == 1
    assert len(evaluate.calls) == 2


def test_a_look_at_test_is_kept_before_the_next_one(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset
) -> None:
    search = make_search(tmp_path / "search", dataset, repeats=2)
    with pytest.raises(KeyError):
        promoted(search, Scripted({1: 0.40}))  # dies at the second checkpoint
    evaluate = Scripted({2: 0.44})
    assert promoted(search, evaluate).decision.values == (0.40, 0.44)
    assert evaluate.calls == [(2, dataset.digest)]


def test_one_training_can_become_the_first_champion_but_beat_none(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset
) -> None:
    evaluate = Scripted({0: 0.40, 10: 0.90})
    outcome = promoted(make_search(tmp_path / "first", dataset), evaluate)
    assert (outcome.verdict, outcome.seeds) == (FIRST, (0,))
    second = make_search(tmp_path / "second", dataset, first_seed=10)
    with pytest.raises(InputError, match="one training cannot show a difference beyond noise"):
        promoted(second, evaluate)
    with pytest.raises(InputError, match="one training cannot show"):
        promoted(second, evaluate, retrain=True, seeds=1)
    assert len(evaluate.calls) == 1  # refused before test was looked at


def test_what_cannot_be_promoted_is_refused_before_anything_is_looked_at(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset, other_dataset: Dataset
) -> None:
    search = make_search(tmp_path / "search", dataset, repeats=1)
    evaluate = Scripted({})
    with pytest.raises(InputError, match="repeats trial 1; give that one"):
        promoted(search, evaluate, trial=2)
    with pytest.raises(InputError, match="has trials 0 to 2"):
        promoted(search, evaluate, trial=3)
    with pytest.raises(InputError, match="nothing was trained on val yet for trial 1; add --retrain"):
        promoted(search, evaluate, with_val=True)
    with pytest.raises(InputError, match="is not the dataset of the search"):
        promoted(search, evaluate, data=other_dataset.location)
    (search / "trials" / "0000" / "best.safetensors").unlink()
    with pytest.raises(InputError, match="trial 0 has no checkpoint any more"):
        promoted(search, evaluate, trial=0)
    assert evaluate.calls == []
    assert client.search_registered_models() == []


def test_a_test_split_without_a_box_that_counts_measures_nothing(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset
) -> None:
    with pytest.raises(DatasetError, match="test has no true box that counts"):
        promoted(make_search(tmp_path / "search", dataset, repeats=1), Scripted({1: math.nan}))
    assert client.search_registered_models() == []


def test_another_promotion_in_between_is_compared_with(
    tmp_path: Path, client: MlflowClient, light: None, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Scripted({1: 0.60, 2: 0.61, 11: 0.40, 12: 0.41})
    first, second = make_search(tmp_path / "a", dataset, 2), make_search(tmp_path / "b", dataset, 2, first_seed=10)
    real = Registry.register

    def beaten_to_it(self: Registry, *arguments: Any) -> str:
        monkeypatch.setattr(Registry, "register", real)
        promoted(first, evaluate)
        return real(self, *arguments)

    monkeypatch.setattr(Registry, "register", beaten_to_it)
    outcome = promoted(second, evaluate)
    assert (outcome.verdict, outcome.decision.champion_values) == (REFUSED, (0.60, 0.61))
    assert client.get_model_version_by_alias(MODEL, "champion").tags["search_id"] == "tiny-0"


def test_welch_s_test_by_paper_and_pencil() -> None:
    # Means 3 and 1, variances 1 and 4, of 2 and 3 values: t = 2 / sqrt(1/2 + 4/3).
    found = compare([3 - math.sqrt(0.5), 3 + math.sqrt(0.5)], [-1.0, 1.0, 3.0])
    error = 1 / 2 + 4 / 3
    freedom = error**2 / ((1 / 2) ** 2 / 1 + (4 / 3) ** 2 / 2)
    assert found.p_value == pytest.approx(stats.t.sf(2 / math.sqrt(error), freedom))
    assert found.difference == pytest.approx(2)


def test_a_champion_of_one_training_is_taken_to_spread_as_the_challenger_does() -> None:
    # s = 1, so that the error of the difference is sqrt(1/3 + 1), with two degrees of freedom.
    found = compare([4.0, 5.0, 6.0], [2.0])
    assert found.p_value == pytest.approx(stats.t.sf(3 / math.sqrt(4 / 3), 2))


def test_trainings_that_never_differ_tell_nothing() -> None:
    assert math.isnan(compare([0.5, 0.5], [0.4, 0.4]).p_value)
    assert not compare([0.5, 0.5], [0.4, 0.4]).better
    with pytest.raises(ValueError, match="tell nothing of noise"):
        compare([0.5], [0.4, 0.41])


def test_the_interval_of_a_mean_is_student_s() -> None:
    assert mean_interval([1.0, 3.0]) == pytest.approx((2 - 12.706205, 2 + 12.706205))  # t(.975, 1)
    assert mean_interval([1.0]) is None
