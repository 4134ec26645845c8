"""The house stands: imports run down, only the tuner knows the cluster, and modules stay small and well named."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("data", "model", "tuner")  # from the ground up
MODULES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
LONGEST = 300  # lines
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc"}  # names that say nothing of what is inside

# As a word of its own or of an identifier counts: ray, ray_actor, RayActor, initRay; not array, not x_rays.
LIBRARIES = re.compile(r"(?<![A-Za-z])(?i:ray|optuna|mlflow)(?![a-z])|(?<=[a-z])(?:Ray|Optuna|M[Ll]flow)(?![a-z])")


def imports_upwards(floor: str, source: str) -> list[str]:
    """What a module of this floor imports from the floors above it, wherever in the module that stands."""
    above = FLOORS[FLOORS.index(floor) + 1 :]
    return [name for name in imported(ast.parse(source)) if name.split(".")[0] in above]


def imported(tree: ast.AST) -> Iterator[str]:
    """The absolute module names that a module imports, also by import_module("name")."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(name), level=0):
                yield name
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def libraries_named(source: str) -> list[str]:
    """Where Ray, Optuna or MLflow is named: in an import, an identifier, a string or a comment."""
    return [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(source.splitlines(), start=1)
        if LIBRARIES.search(line)
    ]


def too_long(source: str) -> bool:
    return len(source.splitlines()) > LONGEST


def drawer_words(module: str) -> set[str]:
    """The words of a dotted module name that say nothing."""
    return set(re.split(r"[._]", module)) & DRAWERS


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def violations(rule: Callable[[str], object], floors: tuple[str, ...]) -> dict[str, object]:
    modules = {dotted(path): path.read_text() for path in MODULES if path.relative_to(ROOT).parts[0] in floors}
    return {name: found for name, source in modules.items() if (found := rule(source))}


@pytest.mark.parametrize("floor", FLOORS)
def test_every_floor_has_modules_to_check(floor: str) -> None:
    assert any(path.is_relative_to(ROOT / floor) for path in MODULES)


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_run_down_only(floor: str) -> None:
    assert violations(lambda source: imports_upwards(floor, source), (floor,)) == {}


@pytest.mark.parametrize(
    ("floor", "source"),
    [
        ("data", "import model\n"),
        ("data", "import model.loss as loss\n"),
        ("data", "from tuner.cli import main\n"),
        ("model", "from tuner import space\n"),
        ("model", "def late():\n    import tuner.space\n"),
        ("model", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tuner import spec\n"),
        ("data", "import importlib\nimportlib.import_module('model.loss')\n"),
        ("data", "__import__('tuner')\n"),
    ],
)
def test_an_import_that_runs_up_is_found(floor: str, source: str) -> None:
    assert len(imports_upwards(floor, source)) == 1


@pytest.mark.parametrize(
    ("floor", "source"),
    [
        ("tuner", "import data\nfrom model.training.run import train\n"),
        ("model", "from data.events import Events\nimport torch\n"),
        ("data", "from data.model_names import x\nimport modelling\n# import model\ntext = 'import model'\n"),
    ],
)
def test_an_import_that_runs_down_or_elsewhere_is_none_of_them(floor: str, source: str) -> None:
    assert imports_upwards(floor, source) == []


def test_only_the_tuner_names_ray_optuna_or_mlflow() -> None:
    assert violations(libraries_named, ("data", "model")) == {}


@pytest.mark.parametrize(
    "source",
    [
        "import ray",
        "from ray.tune import report",
        "import optuna.samplers",
        "uri = os.environ['MLFLOW_TRACKING_URI']",
        "def report_to_ray(): ...",
        "class RayActor: ...",
        "initRay()",
        "client = MlflowClient()",
        "client = asMLflowRun",
        "backend = 'Optuna'",
        "x = 1  # Ray pickles this",
    ],
)
def test_a_name_of_the_tuners_libraries_is_found(source: str) -> None:
    assert len(libraries_named(f"import numpy\n{source}\n")) == 1


@pytest.mark.parametrize(
    "source", ["np.array([1])", "pyarrow.Array", "x_rays = 3", "stray = gray + tray", "def spray(): ..."]
)
def test_a_word_that_only_contains_such_a_name_is_none(source: str) -> None:
    assert libraries_named(source) == []


def test_no_module_is_longer_than_300_lines() -> None:
    assert violations(too_long, FLOORS) == {}


def test_a_module_of_301_lines_is_too_long_and_one_of_300_is_not() -> None:
    assert too_long("x = 1\n" * 301)
    assert not too_long("x = 1\n" * 300)


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [dotted(path) for path in MODULES if drawer_words(dotted(path))] == []


@pytest.mark.parametrize("module", ["data.utils", "model.common.boxes", "tuner.ray_helpers", "data.misc"])
def test_a_name_that_says_nothing_is_found(module: str) -> None:
    assert drawer_words(module)


def test_a_name_that_says_something_is_left_alone() -> None:
    assert not drawer_words("model.commonness")
