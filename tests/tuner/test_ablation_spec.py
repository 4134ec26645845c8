"""Ablation specifications: what is refused and where, and which trainings one comes to."""

from pathlib import Path
from typing import NamedTuple

import pytest

from data.errors import ConfigError
from tuner.ablation.compiling import compiled
from tuner.ablation.configurations import distinct, rows_of
from tuner.ablation.loading import Ablation, load_ablation
from tuner.ablation.spec import Design
from tuner.spec.search_spec import load_spec

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("ablation_*.yaml"))
SPEC = """\
name: three
base:
  loss: {box: 2}
  training: {epochs: 2, seed: 7}
improvements:
  - name: box
    set: {loss.box: 5}
    claimed: +10 %
  - name: longer
    set: {training: {epochs: 4}}
  - name: shared
    set: {optimizer.name: sgd}
designs: [cumulative, leave_one_out]
seeds: 2
objective: {windows: 10}
variants:
  small:
    base: {data.scale: 0.5}
    improvements: {longer: {training.epochs: 3}}
    seeds: 1
    resources: {cpus: 2}
"""


def loaded(folder: Path, text: str = SPEC, variant: str | None = None, seeds: int | None = None) -> Ablation:
    path = folder / "ablation.yaml"
    path.write_text(text)
    return load_ablation(path, variant, seeds)


class Mistake(NamedTuple):
    """A line of SPEC changed, and what is said of it."""

    old: str
    new: str
    line: int
    said: str


MISTAKES = [
    Mistake("name: three", "nam: three", 1, "nam: unknown key 'nam'; did you mean 'name'?"),
    Mistake("loss: {box: 2}", "loss: {bxo: 2}", 3, "base.loss.bxo: unknown key 'loss.bxo'; did you mean 'loss.box'?"),
    Mistake("loss: {box: 2}", "loss: {box: -2}", 3, "loss.box: Input should be greater"),
    Mistake("{loss.box: 5}", "{loss.bxo: 5}", 7, "improvements[0].set.loss.bxo: unknown key 'loss.bxo'; did you"),
    Mistake("{loss.box: 5}", "{loss.box: -5}", 7, "improvements[0].set: loss.box: Input should be greater"),
    Mistake("{loss.box: 5}", "{loss.box: 2}", 7, "improvements[0].set: 'box' changes nothing there; set another"),
    Mistake("{loss.box: 5}", "{}", 7, "improvements[0].set: Dictionary should have at least 1 item"),
    Mistake("{loss.box: 5}", "{training.seed: 1}", 7, "improvements[0].set.training.seed: seeds are those of the abl"),
    Mistake("{loss.box: 5}", "{training.with_val: true}", 7, "what is trained on val cannot be measured there"),
    Mistake("{loss.box: 5}", "{tracking.match_iou: 0.3}", 7, "it is read where tracks are measured"),
    Mistake("{loss.box: 5}", "{resources.proceses: 2}", 7, "unknown key 'proceses'; did you mean 'processes'?"),
    Mistake("{loss.box: 5}", "{resources: {cpus: 0}}", 7, "improvements[0].set.resources.cpus: cpus: Input should be"),
    Mistake("{loss.box: 5}", "{resources.max_concurrent: 2}", 7, "unknown key 'max_concurrent'; known: cpus, gpus"),
    Mistake("{optimizer.name: sgd}", "{loss.box: 9}", 7, "a later improvement sets all of 'box' again; drop one"),
    Mistake("- name: longer", "- name: box", 1, "the improvement 'box' is given twice; keep one"),
    Mistake("claimed:", "claims:", 8, "improvements[0].claims: unknown key 'claims'; did you mean 'claimed'?"),
    Mistake("leave_one_out]", "leave_one_ou]", 13, "designs[1]: Input should be 'cumulative', 'leave_one_out'"),
    Mistake("leave_one_out]", "cumulative]", 1, "the design 'cumulative' is given twice; keep one"),
    Mistake("seeds: 2", "seeds: 0", 14, "seeds: Input should be greater than or equal to 1"),
    Mistake("{windows: 10}", "{metric: loss}", 1, "an ablation tells gains in one of map, map50, map75"),
    Mistake("{windows: 10}", "{also: [{metric: macs}]}", 1, "objective.also: an ablation compares by one metric"),
    Mistake("{windows: 10}", "{}\ncolumns: [map, fps]", 16, "columns[1]: Input should be 'map', 'map50', 'map75'"),
    Mistake("{longer:", "{longr:", 19, "variants.small.improvements.longr: unknown key 'longr'; did you mean 'longer'"),
    Mistake("data.scale: 0.5", "data.scales: 0.5", 18, "variants.small.base.data.scales: unknown key 'data.scales'"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.new for mistake in MISTAKES])
def test_a_mistake_is_told_with_its_line_and_key(tmp_path: Path, mistake: Mistake) -> None:
    assert mistake.old in SPEC
    with pytest.raises(ConfigError) as raised:
        compiled(loaded(tmp_path, SPEC.replace(mistake.old, mistake.new, 1), "small"))
    assert str(raised.value).startswith(f"{tmp_path / 'ablation.yaml'}:{mistake.line}: ")
    assert mistake.said in str(raised.value)


def test_an_unknown_variant_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--variant smal: unknown key 'smal'; did you mean 'small'"):
        loaded(tmp_path, variant="smal")


def told(ablation: Ablation) -> list[tuple[float, int, str]]:
    """What each distinct configuration has for the three improvements."""
    configs = [one.config for one in distinct(rows_of(ablation))]
    return [(config.loss.box, config.training.epochs, config.optimizer.name.value) for config in configs]


def test_configurations_grow_one_by_one_and_then_each_improvement_is_missing_once(tmp_path: Path) -> None:
    ablation = loaded(tmp_path)
    cumulative = [(2, 2, "adamw"), (5, 2, "adamw"), (5, 4, "adamw"), (5, 4, "sgd")]
    # All three is the end of the first list, and all but the last one its third; neither is trained again.
    assert told(ablation) == [*cumulative, (2, 4, "sgd"), (5, 2, "sgd")]
    assert [(row.design, row.name, row.claimed) for row in rows_of(ablation)] == [
        (Design.CUMULATIVE, "baseline", ""),
        (Design.CUMULATIVE, "+ box", "+10 %"),
        (Design.CUMULATIVE, "+ longer", ""),
        (Design.CUMULATIVE, "+ shared", ""),
        (Design.LEAVE_ONE_OUT, "all improvements", ""),
        (Design.LEAVE_ONE_OUT, "without box", "+10 %"),
        (Design.LEAVE_ONE_OUT, "without longer", ""),
        (Design.LEAVE_ONE_OUT, "without shared", ""),
    ]


def test_what_an_improvement_brings_is_between_without_and_with_it(tmp_path: Path) -> None:
    rows = {(row.design, row.name): row for row in rows_of(loaded(tmp_path))}
    added = rows[Design.CUMULATIVE, "+ box"]
    assert added.before == rows[Design.CUMULATIVE, "baseline"].configuration
    assert added.after == added.configuration
    missing = rows[Design.LEAVE_ONE_OUT, "without box"]
    assert missing.before == missing.configuration
    assert missing.after == rows[Design.CUMULATIVE, "+ shared"].configuration


def test_alternatives_are_each_compared_with_the_baseline(tmp_path: Path) -> None:
    ablation = loaded(tmp_path, SPEC.replace("[cumulative, leave_one_out]", "[one_at_a_time]"))
    assert told(ablation) == [(2, 2, "adamw"), (5, 2, "adamw"), (2, 4, "adamw"), (2, 2, "sgd")]
    base = rows_of(ablation)[0].configuration
    assert {row.before for row in rows_of(ablation)[1:]} == {base}


def test_every_configuration_is_trained_with_every_seed_and_nothing_else_is(tmp_path: Path) -> None:
    ablation = loaded(tmp_path)
    (group,) = compiled(ablation)
    spec = group.spec
    assert (group.folder, spec.file.budget.trials, spec.file.budget.epochs) == ("trainings", 6 * 2, 4)
    assert (spec.file.scheduler.name.value, spec.space.leaves) == ("none", ["training.seed"])
    trained = [spec.default, *(spec.configuration(leaves) for leaves in spec.start_with)]
    assert [(t.loss.box, t.training.epochs, t.optimizer.name.value, t.training.seed) for t in trained] == [
        (*one, seed) for seed in (7, 8) for one in told(ablation)
    ]
    assert [m.configuration.config.with_leaves({"training.seed": m.seed}, "") for m in group.members] == trained
    assert spec.file.names[:2] == ("baseline, seed 7", "+ box, seed 7")
    assert spec.file.names[-1] == "without longer, seed 8"


def test_the_search_an_ablation_becomes_is_read_again_as_it_was(tmp_path: Path) -> None:
    (group,) = compiled(loaded(tmp_path))
    group.spec.write(tmp_path / "spec.yaml")
    again = load_spec(tmp_path / "spec.yaml")
    assert again == group.spec or (again.default, again.start_with) == (group.spec.default, group.spec.start_with)


def test_what_takes_other_resources_is_a_search_of_its_own(tmp_path: Path) -> None:
    text = SPEC.replace("{optimizer.name: sgd}", "{resources.processes: 2, optimizer.name: sgd}")
    usual, two = compiled(loaded(tmp_path, text))
    assert (usual.folder, usual.spec.file.resources.ranks, len(usual.members)) == ("trainings", 1, 3 * 2)
    assert (two.folder, two.spec.file.resources.ranks, len(two.members)) == ("trainings-2-processes", 2, 3 * 2)
    assert two.spec.file.name == "three-2-processes"
    # The first of the second search has all three improvements, with the first seed.
    assert (two.spec.default.loss.box, two.spec.default.training.epochs, two.spec.default.training.seed) == (5, 4, 7)


def test_a_variant_lies_over_the_file(tmp_path: Path) -> None:
    ablation = loaded(tmp_path, variant="small")
    assert told(ablation)[3] == (5, 3, "sgd")
    assert (ablation.base.data.scale, ablation.base.loss.box) == (0.5, 2)
    assert (ablation.seeds, ablation.resources.cpus, ablation.objective.windows) == ((7,), 2, 10)
    assert loaded(tmp_path, variant="small", seeds=4).seeds == (7, 8, 9, 10)


def test_all_shipped_ablations_and_their_small_variants_come_to_trainings() -> None:
    assert [path.stem for path in SHIPPED] == [
        "ablation_cspnet",
        "ablation_etram_guide",
        "ablation_video_report",
        "ablation_yolo_speed",
    ]
    for path in SHIPPED:
        for variant in (None, "small"):
            ablation = load_ablation(path, variant)
            trained = [member for group in compiled(ablation) for member in group.members]
            assert len(trained) == len(distinct(rows_of(ablation))) * 3
            assert len(ablation.seeds) == 3


def test_the_guide_has_its_eleven_improvements_and_ends_with_its_recommended_values() -> None:
    ablation = load_ablation(Path(__file__).parents[2] / "search_spaces" / "ablation_etram_guide.yaml")
    assert len(ablation.steps) == 11
    rows = [row for row in rows_of(ablation) if row.design is Design.CUMULATIVE]
    leaves = rows[-1].configuration.config.leaves()
    recommended = {
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.9,
        "optimizer.lr": 0.001,
        "training.epochs": 25,
        "optimizer.warmup_epochs": 3,
        "loss.box": 5,
        "loss.cls": 1,
        "loss.track": 1,
        "loss.focal_alpha": 0.25,
        "loss.focal_gamma": 2,
        "loss.label_smoothing": 0.1,
        "data.temporal_buffer": 0.2,
    }
    assert {leaf: leaves[leaf] for leaf in recommended} == recommended


def test_the_specification_in_the_documentation_is_sound(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "ablations.md").read_text()
    ablation = loaded(tmp_path, text.split("```yaml\n")[1].split("```")[0], "small")
    assert [step.leaves for step in ablation.steps] == [{"optimizer.warmup_epochs": 3}, {"training.epochs": 10}]
    assert len(compiled(ablation)[0].members) == 4 * 3  # nothing, each of two alone, and both
