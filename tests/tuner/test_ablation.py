"""An ablation's arithmetic by hand, its tables, and a real run that is cut and goes on."""

import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from scipy import stats

from data.dataset import Dataset
from model.prediction import Validation
from model.training.report import EpochReport
from model.training.run_folder import BEST, LAST
from model.trial_config import TrialConfig
from tuner.ablation.cells import cells, header
from tuner.ablation.compiling import Group, compiled
from tuner.ablation.configurations import rows_of
from tuner.ablation.loading import Ablation, load_ablation
from tuner.ablation.measuring import measured
from tuner.ablation.run import AblationResult, run_ablation
from tuner.ablation.spec import Column
from tuner.ablation.statistics import difference, holm, mean_of, ratio
from tuner.ablation.table import Line, tables_of
from tuner.ablation.writing import markdown, write_csv
from tuner.schedulers.decision import Decision
from tuner.study.history import TrialHistory
from tuner.study.record import Origin, Told, TrialRecord, TrialState
from tuner.trial import TrainFunction

SPEC = """\
name: formula
base: {loss.box: 2, training.epochs: 2}
improvements:
  - {name: box, set: {loss.box: 6}, claimed: +5 %}
  - {name: longer, set: {training.epochs: 3}}
designs: [cumulative, leave_one_out]
seeds: 3
resources: {max_concurrent: 2}
"""


def test_the_interval_of_a_mean_is_students() -> None:
    found = mean_of([0.1, 0.2, 0.3])
    # s = 0.1, s / sqrt(3) = 0.057735, and t for 2 degrees of freedom is 4.302653.
    assert found.value == pytest.approx(0.2)
    assert found.count == 3
    assert found.margin == pytest.approx(0.248414, abs=1e-6)


def test_a_single_value_has_no_interval() -> None:
    assert mean_of([0.4]).value == 0.4
    assert math.isnan(mean_of([0.4]).margin)


def test_a_difference_is_welchs() -> None:
    before, after = [1.0, 2.0, 3.0], [2.0, 4.0, 9.0]
    found = difference(before, after)
    # Variances 1 and 13 of three each: s.e. = sqrt(14 / 3), t = 3 / 2.160247 = 1.388730;
    # degrees of freedom (14 / 3)^2 / ((1 / 3)^2 / 2 + (13 / 3)^2 / 2) = 196 / 85 = 2.305882.
    freedom = 196 / 85
    assert found.value == pytest.approx(3.0)
    assert found.p_value == pytest.approx(2 * stats.t.sf(3 / math.sqrt(14 / 3), freedom))
    margin = stats.t.ppf(0.975, freedom) * math.sqrt(14 / 3)
    assert [found.low, found.high] == pytest.approx([3 - margin, 3 + margin])


@pytest.mark.parametrize(("before", "after"), [([0.0, 0.0], [0.0, 0.0]), ([0.1], [0.2, 0.3])])
def test_where_nothing_scatters_nothing_is_known_of_chance(before: list[float], after: list[float]) -> None:
    found = difference(before, after)
    assert found.value == pytest.approx(sum(after) / len(after) - sum(before) / len(before))
    assert math.isnan(found.p_value)
    assert math.isnan(found.low)


def test_a_ratio_of_times_has_the_interval_of_its_logarithm() -> None:
    found = ratio([4.0, 8.0, 16.0], [1.0, 2.0, 4.0])
    # Logarithms to base 2: 2, 3, 4 and 0, 1, 2; s.e. = sqrt(2 / 3), 4 degrees of freedom, t = 2.776445.
    assert found.value == pytest.approx(4.0)
    assert found.low == pytest.approx(2 ** (2 - 2.776445 * math.sqrt(2 / 3)), rel=1e-5)
    assert found.high == pytest.approx(2 ** (2 + 2.776445 * math.sqrt(2 / 3)), rel=1e-5)


def test_holms_correction_by_hand() -> None:
    # In order: 0.01 * 4, 0.02 * 3, 0.03 * 2 = 0.06, and 0.04 * 1, which may not be below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_an_unknown_chance_stays_unknown_and_counts_as_asked() -> None:
    found = holm([0.01, math.nan, 0.02])
    assert found[0] == pytest.approx(0.03)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.04)


@pytest.fixture
def ablation(tmp_path: Path) -> Ablation:
    (tmp_path / "formula.yaml").write_text(SPEC)
    return load_ablation(tmp_path / "formula.yaml")


def history(number: int, score: float, seconds: list[float], state: TrialState = TrialState.COMPLETE) -> TrialHistory:
    """A training whose epochs took so many seconds."""
    record = TrialRecord(number, Origin({}), {}, state=state, best_epoch=1, metrics=dict.fromkeys(SCORES, score))
    epochs = tuple(
        Told(epoch, {"seconds": one, "windows_per_second": 10.0}, None, Decision.CONTINUE, one)
        for epoch, one in enumerate(seconds, 1)
    )
    return TrialHistory(record, epochs, (), None, None)


SCORES = ("map", "map50", "map75")


def group_and_scores(ablation: Ablation) -> tuple[Group, list[TrialHistory]]:
    """Four configurations (baseline, + box, + longer, without box) with the seeds 0, 1, 2."""
    (group,) = compiled(ablation)
    means = [0.1, 0.3, 0.3, 0.2]
    trials = [
        history(4 * seed + place, mean + 0.01 * seed, [9.0, 1.0 + place, 1.0 + place])
        for seed in range(3)
        for place, mean in enumerate(means)
    ]
    return group, trials


def test_the_table_holds_what_the_trainings_came_to(ablation: Ablation) -> None:
    group, trials = group_and_scores(ablation)
    cumulative, left_out = tables_of(rows_of(ablation), measured([(group, trials)]), {}, "map")
    baseline, box, longer = cumulative.lines
    assert baseline.means["map"].value == pytest.approx(0.11)
    assert baseline.gain is None
    assert baseline.speed_up is None
    # The median of an epoch is not that of the first, which compiles; all of it counts in the whole.
    assert (box.means["epoch_s"].value, box.means["total_s"].value) == (2.0, 13.0)
    assert box.speed_up is not None
    assert box.speed_up.value == pytest.approx(0.5)
    assert box.gain is not None
    assert box.gain.difference.value == pytest.approx(0.2)
    # s = 0.01 in both: t = 0.2 / (0.01 sqrt(2 / 3)) = 24.4949 with 4 degrees of freedom. Three pairs are compared:
    # `+ longer` and `without longer` are the same one.
    p_value = 2 * stats.t.sf(0.2 / (0.01 * math.sqrt(2 / 3)), 4)
    assert box.gain.adjusted_p == pytest.approx(3 * p_value)
    assert box.gain.significant is True
    assert longer.gain is not None
    assert longer.gain.difference.value == pytest.approx(0.0)
    assert longer.gain.significant is False
    everything, without_box, without_longer = left_out.lines
    assert everything.means["map"].value == pytest.approx(0.31)
    assert without_box.gain is not None
    assert without_box.gain.difference.value == pytest.approx(0.1)  # 0.31 - 0.21: lost when left out
    assert without_longer.gain == longer.gain


def test_trainings_without_a_number_are_told_and_left_out(ablation: Ablation) -> None:
    group, trials = group_and_scores(ablation)
    trials[1] = history(1, 0.9, [1.0], TrialState.DIVERGED)
    cumulative, _ = tables_of(rows_of(ablation), measured([(group, trials[:-4])]), {}, "map")
    box = cumulative.lines[1]
    assert box.means["map"].count == 1
    assert box.means["map"].value == pytest.approx(0.31)
    assert box.missing == {"diverged": 1, "not begun": 1}
    text = cells(cumulative, [Column.MAP])
    assert text[1][0] == "+ box (1 diverged, 1 not begun)"
    assert text[1][1] == "0.310"  # alone, without an interval


def test_a_table_reads_as_the_documents_have_it(ablation: Ablation) -> None:
    group, trials = group_and_scores(ablation)
    tables = tables_of(rows_of(ablation), measured([(group, trials)]), {}, "map")
    assert header(tables[0], [Column.MAP, Column.EPOCH_S], "map") == [
        "configuration",
        "mAP",
        "s an epoch",
        "gain over the line before, mAP",
        "p (Holm)",
        "significant",
        "claimed",
    ]
    lines = markdown(tables, [Column.MAP, Column.SPEED_UP], "map").splitlines()
    assert lines[0] == "### One on top of the other"
    # 4.302653 * 0.01 / sqrt(3) = 0.0248; 2.776445 * 0.01 sqrt(2 / 3) = 0.0227.
    assert lines[5].startswith("| + box | 0.310 ± 0.025 | 0.50 | +0.200 (+0.177 to +0.223) | ")
    assert lines[5].endswith("| yes | +5 % |")


def test_a_csv_holds_all_lines_in_full(ablation: Ablation, tmp_path: Path) -> None:
    group, trials = group_and_scores(ablation)
    tables = tables_of(rows_of(ablation), measured([(group, trials)]), {}, "map")
    write_csv(tables, tmp_path / "all.csv")
    head, *lines = [line.split(",") for line in (tmp_path / "all.csv").read_text().splitlines()]
    assert len(lines) == 6
    box = dict(zip(head, lines[1], strict=True))
    assert (box["design"], box["configuration"], box["claimed"]) == ("cumulative", "+ box", "+5 %")
    assert float(box["gain_value"]) == pytest.approx(0.2)
    assert (box["seeds"], box["significant"], box["missing"]) == ("3", "True", "0")


def formula(calls: Path, cut_at: int | None) -> TrainFunction:
    """mAP = box / 20 + seed / 1000, the same in each epoch; the `cut_at`-th training to begin interrupts the driver."""
    driver = os.getpid()

    def report(config: TrialConfig, epoch: int) -> EpochReport:
        value = config.loss.box / 20 + config.training.seed / 1000
        return EpochReport(
            epoch=epoch,
            map=value,
            map50=value,
            map75=value,
            best=epoch == 1,
            last=epoch == config.training.epochs,
            loss={"box": 1.0},
            lr=0.01,
            windows_per_second=10.0,
            waiting=0.0,
            seconds=0.5,
            steps=5,
            batch_size=4,
            skipped_steps=0,
            worker_restarts=0,
            bad_shards=0,
            diagnosis=None,
        )

    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        begun = len(list(calls.iterdir()))
        (calls / f"{config.loss.box} {config.training.epochs} {config.training.seed}").touch()
        if begun == cut_at:
            os.kill(driver, signal.SIGINT)
        for epoch in range(1, config.training.epochs + 1):
            for name in (BEST, LAST):
                (out / name).write_text("weights")
            yield report(config, epoch)

    return train


@pytest.fixture(scope="module")
def cut_and_resumed(
    tmp_path_factory: pytest.TempPathFactory, dataset: Path
) -> Iterator[tuple[AblationResult, AblationResult, Path]]:
    """An ablation whose sixth training interrupts it, and the same one resumed."""
    home = tmp_path_factory.mktemp("ablation")
    (home / "calls").mkdir()
    (home / "formula.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        asked = load_ablation(home / "formula.yaml")
        cut = run_ablation(asked, dataset, home / "out", train_function=formula(home / "calls", cut_at=5))
        (home / "begun before").write_text(str(len(list((home / "calls").iterdir()))))
        resumed = run_ablation(
            asked, dataset, home / "out", resume=True, train_function=formula(home / "calls", cut_at=None)
        )
        yield cut, resumed, home


def line(result: AblationResult, table: int, place: int) -> Line:
    return result.tables[table].lines[place]


def test_an_ablation_that_was_cut_goes_on_where_it_was(
    cut_and_resumed: tuple[AblationResult, AblationResult, Path],
) -> None:
    cut, resumed, home = cut_and_resumed
    assert cut.interrupted
    assert line(cut, 1, 1).missing
    assert int((home / "begun before").read_text()) < 12
    assert not resumed.interrupted
    expected = {
        f"{box} {epochs} {seed}" for box, epochs in ((2.0, 2), (6.0, 2), (6.0, 3), (2.0, 3)) for seed in (0, 1, 2)
    }
    assert {file.name for file in (home / "calls").iterdir()} == expected
    assert all(not each.missing for table in resumed.tables for each in table.lines)
    # Seeds 0, 1, 2: 0.1 + 0.001 for a box weight of 2, 0.3 + 0.001 for 6.
    assert line(resumed, 0, 0).means["map"].value == pytest.approx(0.101)
    assert line(resumed, 0, 1).means["map"].value == pytest.approx(0.301)
    assert line(resumed, 0, 2).means["total_s"].value == pytest.approx(1.5)


def test_an_ablations_files_hold_its_tables(cut_and_resumed: tuple[AblationResult, AblationResult, Path]) -> None:
    _, resumed, home = cut_and_resumed
    tree = json.loads((home / "out" / "ablation.json").read_text())
    assert tree["tables"][0]["lines"][1]["gain"]["difference"]["value"] == pytest.approx(0.2)
    assert (home / "out" / "ablation.md").read_text() == resumed.markdown()
    assert (home / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert load_ablation(home / "out" / "ablation.yaml").file == resumed.ablation.file


def test_mlflow_names_each_training_by_its_step_and_seed(
    cut_and_resumed: tuple[AblationResult, AblationResult, Path],
) -> None:
    _, _, home = cut_and_resumed
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("spiketune")
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    names = {run.data.tags["title"]: run for run in runs}
    steps = ("baseline", "+ box", "+ longer", "without box")
    assert set(names) == {f"{step}, seed {seed}" for step in steps for seed in (0, 1, 2)}
    assert names["+ box, seed 2"].data.params["loss.box"] == "6.0"
    assert "+ box, seed 2" in names["+ box, seed 2"].info.run_name
