"""What MLflow's pages of a search say: names, descriptions, columns and views."""

import json
from pathlib import Path

import pytest

from tests.tuner.recorded_search import end, live, record_all, search_facts, trial
from tests.tuner.recording_store import Store
from tuner.recording.columns import best_columns, columns
from tuner.recording.links import Links
from tuner.recording.notes import NOTE, trial_note
from tuner.recording.recorder import Recorder

pytestmark = pytest.mark.usefixtures("impatient_writer")


def test_numbers_that_are_compared_have_plain_names_and_the_rest_lies_in_groups() -> None:
    told = columns({"map": 0.5, "loss": 2, "loss_box": 1, "lr": 0.1, "system_cpu_percent": 90, "best": 1, "last": 0})
    assert told == {"map": 0.5, "loss": 2, "training/loss_box": 1, "training/lr": 0.1, "system/cpu_percent": 90}
    assert best_columns({"map": 0.5}, 3) == {"best_map": 0.5, "best_epoch": 3}
    assert best_columns({}, None) == {}


def test_links_lead_to_runs_and_are_text_where_there_is_no_such_run() -> None:
    links = Links("1", "mine", {-1: "aa", 7: "bb"}.get)
    note = "[trial 7](run:7) [file](run:search/artifacts/f.html) [trial 8](run:8) [all](view)"
    kind = "?workflowType=machine_learning"
    assert links.resolved(note) == (
        f"[trial 7](#/experiments/1/runs/bb{kind}) [file](#/experiments/1/runs/aa/artifacts/f.html{kind}) trial 8 "
        f"[all](#/experiments/1/runs{kind}&viewStateShareKey=mine)"
    )


def test_the_searchs_description_opens_with_the_answer(store: Store, folder: Path) -> None:
    record_all(folder)
    run = store.by_trial()["search"]
    first, second, third = run.tags[NOTE].split("\n\n")[0].splitlines()
    assert run.name == "mine-1 mAP 2"
    assert first.startswith("**Best: [trial 1](#/experiments/1/runs/")
    assert first.rstrip().endswith("**, mAP 2 in epoch 3: `box=1`")
    assert second.rstrip() == "**Against the default:** it has no score"
    assert third == "**Cost:** 3 trials (2 complete, 1 out of memory), 0 epochs, 0 minutes of workers"


def test_a_trials_description_tells_its_settings_against_the_default_and_why_it_ended() -> None:
    stopped = trial(
        4, "stopped", scores={"map": 0.25}, best_epoch=1, last_epoch=2, epochs=9,
        settings={"loss.box": (2.0, 5), "optimizer.name": ("sgd", "sgd")}, diagnosis="it fires",
    )  # fmt: skip
    assert trial_note(stopped).splitlines() == [
        "mAP 0.25 in epoch 1. Stopped after epoch 2 of 9: others were better by then",
        "",
        "- `loss.box` **2**, default 5",
        "- `optimizer.name` **sgd**, as the default",
        "",
        "Diagnosis: it fires",
        "",
        "Of [this search](run:search)",
    ]


def test_a_winner_that_is_beaten_after_a_resume_is_one_no_longer(store: Store, folder: Path) -> None:
    for winner in (0, 1):
        recorder = Recorder.begin(folder, search_facts(), lambda _: None)
        live(recorder, winner)
        trials = {number: trial(number, "complete", scores={"map": 1.0}, best_epoch=1) for number in (0, 1)}
        told = {"config": Path("best.yaml"), "trials": trials}
        recorder.finish(end(folder, **told) if winner else end(folder, best=trials[0], **told), 20)
    runs = store.by_trial()
    assert [(runs[key].name, runs[key].tags["winner"]) for key in "01"] == [("0000", "no"), ("0001 winner", "yes")]


def test_the_experiment_has_a_view_of_the_searchs_trials_best_first_and_keeps_what_a_user_has_set(
    store: Store, folder: Path
) -> None:
    store.experiment_tags["mlflow.note.content"] = "ours"
    record_all(folder)
    view = json.loads(store.experiment_tags["mlflow.sharedViewState.mine-1"])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`best_map`", False)
    assert view["searchFilter"] == "tags.search_id = 'mine-1'"
    assert store.experiment_tags["mlflow.note.content"] == "ours"
