"""What is read from files is data: no module unpickles, evaluates, or reads YAML that could build objects."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for floor in ("data", "model", "tuner") for path in (ROOT / floor).rglob("*.py"))

# Modules whose work is to turn bytes into objects by running what the bytes say.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
# Calls that do, by the end of their dotted names.
CALLS = {
    "torch.load", "torch.jit.load", "torch.package.PackageImporter", "cloudpickle.load", "cloudpickle.loads",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "pandas.read_pickle", "pd.read_pickle",
    "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all", "yaml.load_all",
}  # fmt: skip
BUILT_IN = {"eval", "exec"}
_SAFE = {"yaml.SafeLoader", "yaml.CSafeLoader", "SafeLoader", "CSafeLoader"}


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name):
            return f"{dotted(inner)}.{name}"
        case _:
            return "?"


def ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def unsafe(source: str) -> Iterator[str]:
    """The places of a module where data could become code."""
    tree = ast.parse(source)
    safe_loaders = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(dotted(base) in _SAFE for base in node.bases)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"import {one.name}" for one in names if set(one.name.split(".")) & UNPICKLERS)
            case ast.ImportFrom(module=str(module), names=names):
                parts = set(module.split(".")) | {one.name for one in names}
                yield from (f"from {module} import {part}" for part in sorted(parts & UNPICKLERS))
            case ast.Call():
                yield from _unsafe_call(node, safe_loaders)


def _unsafe_call(call: ast.Call, safe_loaders: set[str]) -> Iterator[str]:
    name = dotted(call.func)
    if name in BUILT_IN or any(ends_with(name, one) for one in CALLS):
        yield name
    if ends_with(name, "yaml.load"):
        loaders = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "Loader")]
        if not any(dotted(loader) in _SAFE | safe_loaders for loader in loaders):
            yield name
    for keyword in call.keywords:
        wanted = not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        if keyword.arg == "allow_pickle" and wanted:
            yield f"{name}(allow_pickle)"
        if keyword.arg == "shell" and wanted:
            yield f"{name}(shell)"
    if name in ("np.load", "numpy.load") and not any(keyword.arg == "allow_pickle" for keyword in call.keywords):
        yield f"{name} without allow_pickle=False"


def test_no_module_makes_code_of_data() -> None:
    assert len(MODULES) > 100
    assert [f"{path.relative_to(ROOT)}: {what}" for path in MODULES for what in unsafe(path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from ray import cloudpickle",
        "import ray.cloudpickle as cp",
        "import torch\ntorch.load('x')",
        "torch.load('x', weights_only=True)",
        "yaml.load(text)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "class L(yaml.Loader): ...\nyaml.load(text, L)",
        "yaml.full_load(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=wanted)",
        "np.save(path, rows, allow_pickle=True)",
        "frame = pandas.read_pickle(path)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_such_a_place_is_found(source: str) -> None:
    assert list(unsafe(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "yaml.safe_load(text)",
        "yaml.load(text, yaml.SafeLoader)",
        "class L(yaml.SafeLoader): ...\nyaml.load(text, L)",
        "np.load(path, allow_pickle=False)",
        "model.eval()",
        "json.loads(text)",
        "safetensors.torch.load_file(path)",
        "subprocess.run(words, shell=False)",
    ],
)
def test_a_harmless_place_is_not(source: str) -> None:
    assert list(unsafe(source)) == []
