"""Label schemes: what the numbers in box files mean, and which classes the dataset makes of them."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import Field, field_validator, model_validator

from data.boxes import LABEL_SETS, Boxes, LabelSet, label_set, nearest
from data.config import Config
from data.errors import ConfigError

YAML_ENDINGS = (".yaml", ".yml")
DROPPED = -1

# Shipped names whose files speak another set: of 1 megapixel's seven classes the first three are compared on.
SHIPPED_MERGES = {
    "1mpx3": ("1mpx", {"pedestrian": ["pedestrian"], "two wheeler": ["two wheeler"], "car": ["car"]}),
}


@dataclass(frozen=True)
class LabelScheme:
    """How the classes of box files become those of a dataset."""

    source: LabelSet  # what the files' numbers, or names, mean
    target: LabelSet  # the dataset's classes
    mapping: tuple[int, ...]  # source class -> target class, -1 = dropped

    @classmethod
    def unmerged(cls, labels: LabelSet) -> "LabelScheme":
        """Every class stays what it is."""
        return cls(labels, labels, tuple(range(len(labels.classes))))

    @classmethod
    def of_merge(cls, name: str, source: LabelSet, merge: Mapping[str, Iterable[str]]) -> "LabelScheme":
        """The dataset's classes in the order of `merge`, each from the source classes it lists."""
        places = {old: place for place, olds in enumerate(merge.values()) for old in olds}
        return cls(source, LabelSet(name, tuple(merge)), tuple(places.get(old, DROPPED) for old in source.classes))

    def merged(self, boxes: Boxes) -> tuple[Boxes, int]:
        """The boxes in target numbering, and how many were dropped for their class."""
        class_id = np.array(self.mapping, np.int64)[boxes.class_id]
        kept = class_id != DROPPED
        renumbered = Boxes(boxes.t, boxes.xywh, class_id, boxes.track_id)
        return renumbered.take(kept), int(np.count_nonzero(~kept))


def read_labels(text: str) -> LabelScheme:
    """The scheme that `--labels` names: a shipped label set, or a YAML file with keys `name`, `classes` and `merge`.

    Raises:
        ConfigError: there is no such label set or file, or the file breaks a rule.
    """
    if text in SHIPPED_MERGES:
        source, merge = SHIPPED_MERGES[text]
        return LabelScheme.of_merge(text, label_set(source), merge)
    if text in LABEL_SETS:
        return LabelScheme.unmerged(label_set(text))
    path = Path(text)
    if path.suffix in YAML_ENDINGS or path.is_file():
        return LabelFile.parse(_yaml(path), str(path)).scheme()
    raise ConfigError(
        f"label set '{text}' is unknown; {nearest(text, LABEL_SETS)}; a set of your own is a file: --labels MY.yaml"
    )


Name = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]


class LabelFile(Config):
    """A YAML file of labels."""

    name: Name  # of the dataset's label set
    classes: tuple[Name, ...]  # in the files' numbering; a shipped set's name stands for its classes
    merge: dict[Name, tuple[Name, ...]] | None = None  # the dataset's classes in order; None: those of the files

    @field_validator("classes", mode="before")
    @classmethod
    def _shipped(cls, classes: Any) -> Any:
        if not isinstance(classes, str):
            return classes
        if classes not in LABEL_SETS:
            raise ValueError(
                f"label set '{classes}' is unknown; {nearest(classes, LABEL_SETS)}; or list the names as [car, bus]"
            )
        return label_set(classes).classes

    @field_validator("classes")
    @classmethod
    def _named_once(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not classes:
            raise ValueError("the list is empty; name the classes in the files' numbering")
        if twice := _twice(classes):
            raise ValueError(f"'{twice}' stands here twice; each class has a name of its own")
        return classes

    @model_validator(mode="after")
    def _each_merged_once(self) -> "LabelFile":
        if self.merge is None:
            return self
        if not self.merge:
            raise ValueError("merge is empty; name the dataset's classes in it, or leave it out to keep all")
        for target, olds in self.merge.items():
            if not olds:
                raise ValueError(f"merge.{target}: the list is empty; name the classes it is made of, or remove it")
            for old in olds:
                if old not in self.classes:
                    raise ValueError(f"merge.{target}: class '{old}' is unknown; {nearest(old, self.classes)}")
        if twice := _twice(old for olds in self.merge.values() for old in olds):
            targets = [target for target, olds in self.merge.items() if twice in olds]
            raise ValueError(f"merge.{targets[-1]}: class '{twice}' is merged twice ({', '.join(targets)}); keep one")
        return self

    @model_validator(mode="after")
    def _name_of_its_own(self) -> "LabelFile":
        shipped = LABEL_SETS.get(self.name)
        if shipped is not None and self.scheme().target != shipped:
            raise ValueError(
                f"name: '{self.name}' is the shipped set {', '.join(shipped.classes)}; name these others differently"
            )
        return self

    def scheme(self) -> LabelScheme:
        """What the file says."""
        shipped = next((labels for labels in LABEL_SETS.values() if labels.classes == self.classes), None)
        source = shipped or LabelSet(self.name, self.classes)
        merge = self.merge or {name: (name,) for name in self.classes}
        return LabelScheme.of_merge(self.name, source, merge)


def _twice(names: Iterable[str]) -> str | None:
    """The first name that comes a second time."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error; PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [str(key.value) for key, _ in node.value]
        if twice := _twice(keys):
            mark = [key for key, _ in node.value if key.value == twice][-1].start_mark
            raise yaml.MarkedYAMLError(problem=f"key '{twice}' stands here a second time", problem_mark=mark)
        return super().construct_mapping(node, deep)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_text("utf-8"), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a YAML file of labels") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: no valid YAML: {error.problem}; mend the file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no valid YAML: {error}; mend the file") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must be a mapping of keys, as `name: mine` and `classes: [car, bus]`")
    return tree
