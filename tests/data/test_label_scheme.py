"""Label schemes: shipped sets, sets of one's own, and what merging does to boxes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.boxes import LABEL_SETS, Boxes, LabelSet
from data.errors import ConfigError
from data.formats.label_scheme import LabelScheme, read_labels

DOCS = (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
OWN = "name: mine\nclasses: [car, bus, person, dog]\n"


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, "utf-8")
    return str(path)


def boxes_of_classes(*class_ids: int) -> Boxes:
    rows = np.arange(len(class_ids))
    return Boxes(rows * 10, np.stack([rows] * 4, axis=1).astype(np.float32), np.array(class_ids, np.int64), rows + 100)


@pytest.mark.parametrize("name", sorted(set(LABEL_SETS) - {"1mpx3"}))
def test_a_shipped_set_keeps_every_class_as_it_is(name: str) -> None:
    scheme = read_labels(name)
    assert scheme.source == scheme.target == LABEL_SETS[name]
    assert scheme.mapping == tuple(range(len(LABEL_SETS[name].classes)))


def test_the_three_classes_of_one_megapixel_are_the_first_of_its_seven() -> None:
    scheme = read_labels("1mpx3")
    assert scheme.source.classes == (
        "pedestrian", "two wheeler", "car", "truck", "bus", "traffic sign", "traffic light",
    )  # fmt: skip
    assert scheme.target == LabelSet("1mpx3", ("pedestrian", "two wheeler", "car"))
    assert scheme.mapping == (0, 1, 2, -1, -1, -1, -1)
    merged, dropped = scheme.merged(boxes_of_classes(6, 2, 0, 3, 1))
    assert merged.class_id.tolist() == [2, 0, 1]
    assert merged.track_id.tolist() == [101, 102, 104]
    assert merged.t.tolist() == [10, 20, 40]
    assert merged.xywh[:, 0].tolist() == [1, 2, 4]
    assert dropped == 2


def test_classes_of_a_file_are_kept_in_its_order(tmp_path: Path) -> None:
    scheme = read_labels(written(tmp_path, OWN))
    assert scheme.source == scheme.target == LabelSet("mine", ("car", "bus", "person", "dog"))
    assert scheme.mapping == (0, 1, 2, 3)


def test_a_merge_makes_the_datasets_classes_in_its_order_and_drops_the_rest(tmp_path: Path) -> None:
    scheme = read_labels(written(tmp_path, OWN + "merge:\n  pedestrian: [person]\n  vehicle: [car, bus]\n"))
    assert scheme.target == LabelSet("mine", ("pedestrian", "vehicle"))
    assert scheme.mapping == (1, 1, 0, -1)
    merged, dropped = scheme.merged(boxes_of_classes(0, 1, 2, 3, 3))
    assert (merged.class_id.tolist(), dropped) == ([1, 1, 0], 2)


def test_a_shipped_set_may_be_merged_under_a_new_name(tmp_path: Path) -> None:
    scheme = read_labels(written(tmp_path, "name: road\nclasses: etram8\nmerge: {vehicle: [car, bus, truck, tram]}\n"))
    assert scheme.source == LABEL_SETS["etram8"]
    assert scheme.target == LabelSet("road", ("vehicle",))
    assert scheme.mapping == (-1, 0, -1, 0, -1, 0, 0, -1)


def test_a_list_that_is_a_shipped_one_is_that_set(tmp_path: Path) -> None:
    scheme = read_labels(written(tmp_path, "name: three\nclasses: [pedestrian, vehicle, micromobility]\n"))
    assert scheme.source == LABEL_SETS["etram3"]
    assert scheme.target == LabelSet("three", LABEL_SETS["etram3"].classes)


def test_the_example_in_the_documentation_means_what_it_says(tmp_path: Path) -> None:
    example = DOCS.split("```yaml\n")[1].split("```")[0]
    scheme = read_labels(written(tmp_path, example))
    assert scheme.target == LabelSet("road", ("vehicle", "person"))
    assert [scheme.source.classes[old] for old, new in enumerate(scheme.mapping) if new == 0] == [
        "car", "bus", "truck", "tram",
    ]  # fmt: skip


def test_the_documentation_names_every_shipped_set() -> None:
    for name, labels in LABEL_SETS.items():
        listed = "the first three of `1mpx`" if name == "1mpx3" else f"{', '.join(labels.classes)} |"
        assert f"| `{name}` | {listed}" in DOCS


def test_no_boxes_merge_to_no_boxes() -> None:
    merged, dropped = read_labels("1mpx3").merged(Boxes.empty())
    assert (len(merged), merged.xywh.shape, dropped) == (0, (0, 4), 0)


@given(
    mapping=st.lists(st.integers(-1, 3), min_size=1, max_size=6),
    rows=st.lists(st.integers(0, 5), max_size=30),
)
def test_every_box_is_kept_under_its_new_class_or_counted_as_dropped(mapping: list[int], rows: list[int]) -> None:
    class_ids = [row % len(mapping) for row in rows]
    source = LabelSet("many", tuple("abcdef"[: len(mapping)]))
    merged, dropped = LabelScheme(source, LabelSet("few", tuple("wxyz")), tuple(mapping)).merged(
        boxes_of_classes(*class_ids)
    )
    expected = [(place + 100, mapping[old]) for place, old in enumerate(class_ids) if mapping[old] >= 0]
    assert list(zip(merged.track_id.tolist(), merged.class_id.tolist(), strict=True)) == expected
    assert dropped == len(class_ids) - len(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("etram", r"'etram' is unknown; did you mean 'etram\d'\? known: etram3, etram8, gen1, 1mpx, 1mpx3, pedro"),
        ("GEN1", "'GEN1' is unknown; .*known: .*a set of your own is a file: --labels MY.yaml"),
        ("", "'' is unknown"),
    ],
)
def test_an_unknown_name_is_an_error_that_suggests_the_nearest(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"label set {message}"):
        read_labels(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: mine\n", "classes: is missing"),
        ("classes: [car]\n", "name: is missing"),
        ("name: ''\nclasses: [car]\n", "name: "),
        ("name: mine\nclasses: []\n", "classes: the list is empty"),
        ("name: mine\nclasses: [car, bus, car]\n", "classes: 'car' stands here twice"),
        ("name: mine\nclasses: [car, no]\n", r"classes\.1: .*string, got False"),
        ("name: mine\nclasses: [car, ' bus']\n", r"classes\.1: "),
        ("name: mine\nclasses: etram9\n", r"classes: label set 'etram9' is unknown; did you mean 'etram\d'\?"),
        ("name: mine\nclasses: {car: 1}\n", "classes: "),
        ("name: mine\nclass: [car]\n", "class: unknown key 'class'; did you mean 'classes'"),
        (OWN + "merge: {}\n", "merge is empty"),
        (OWN + "merge: {vehicle: []}\n", r"merge\.vehicle: the list is empty"),
        (OWN + "merge: {vehicle: car}\n", r"merge\.vehicle: .*got 'car'"),
        (OWN + "merge: {vehicle: [cat]}\n", r"merge\.vehicle: class 'cat' is unknown; did you mean 'car'\?"),
        (OWN + "merge: {a: [car, bus], b: [bus]}\n", r"merge\.b: class 'bus' is merged twice \(a, b\)"),
        (OWN + "merge: {a: [car, car]}\n", r"merge\.a: class 'car' is merged twice \(a\)"),
        (OWN + "merge: {a: [car], a: [bus]}\n", "no valid YAML: key 'a' stands here a second time"),
        ("name: gen1\nclasses: [car, bus]\n", "name: 'gen1' is the shipped set car, pedestrian"),
        ("name: [\n", "no valid YAML"),
        ("- car\n", "must be a mapping of keys"),
        ("", "must be a mapping of keys"),
        ("name: mine\nclasses: !!python/name:os.system x\n", "no valid YAML"),
    ],
)
def test_a_file_that_breaks_a_rule_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml(:\d+)?: {message}"):
        read_labels(written(tmp_path, text))


def test_a_key_that_is_given_twice_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml:3: no valid YAML: key 'name'"):
        read_labels(written(tmp_path, "name: a\nclasses: [car]\nname: b\n"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read"):
        read_labels(str(tmp_path / "missing.yaml"))
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ConfigError, match=r"mine\.yaml: cannot be read"):
        read_labels(str(tmp_path / "mine.yaml"))
