"""The registered model in an environment of its own requirements, and over HTTP: boxes as `spiketune detect` has."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import h5py
import mlflow
import numpy as np
import pytest

from data.boxes import label_set
from tests.system.command import run, small_spec
from tuner.store import as_default

pytestmark = [
    pytest.mark.system,
    # Of MLflow's own, as its module of models is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

LEAST_SCORE = 0.005  # a detector of two short epochs is sure of nothing
MODEL = "models:/spiketune-detector@champion"
# Run where there is MLflow and what the model asks for, and nothing of this repository.
ASK = """\
import importlib.util, json, sys
import h5py, mlflow, numpy, pandas
assert importlib.util.find_spec("tuner") is None and importlib.util.find_spec("ray") is None
mlflow.set_tracking_uri(sys.argv[1])
detector = mlflow.pyfunc.load_model(sys.argv[2])
params = {"least_score": float(sys.argv[4])}
with open(sys.argv[3], "rb") as file:
    given = pandas.DataFrame({"events": [file.read()], "suffix": ["_td.h5"]})
with h5py.File(sys.argv[3]) as file:
    columns = {name: file["events"][name][:] for name in "txyp"}
print(json.dumps([detector.predict(one, params=params).to_dict("records") for one in (given, columns)]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search was run, and its winner promoted."""
    folder = tmp_path_factory.mktemp("registered")
    simulated = ("--train", "2", "--val", "1", "--test", "1", "--duration-s", "1.5", "--width", "160", "--height", "90")
    run(folder, ("simulate", "traffic", *simulated))
    run(folder, ("ingest", "traffic", "dataset", "--labels", "etram8"))
    (folder / "spec.yaml").write_text(small_spec("tiny", trials=2, epochs=2))
    # Beside other work, Ray's own niceness of 15 would starve its workers.
    run(folder, ("search", "spec.yaml", "--data", "dataset", "--out", "search"), RAY_worker_niceness="0")
    told = json.loads(run(folder, ("promote", "search", "--json")).stdout)
    assert (told["verdict"], told["version"]) == ("first champion", "1")
    return folder


@pytest.fixture(scope="module")
def recording(home: Path) -> Path:
    (found,) = home.glob("traffic/HDF5/test_h5_1/*_td.h5")
    return found


@pytest.fixture(scope="module")
def boxes(home: Path, recording: Path) -> list[dict[str, Any]]:
    """What `spiketune detect` finds."""
    asked_of = ("detect", MODEL, str(recording), "--score", str(LEAST_SCORE), "--out", "boxes.npy")
    run(home, asked_of, OMP_NUM_THREADS="1")
    names = label_set("etram8").classes
    return [
        {
            "t_us": int(row["t"]),
            **{side: float(row[side]) for side in "xywh"},
            "class": names[row["class_id"]],
            "score": float(row["class_confidence"]),
            "track": int(row["track_id"]),
        }
        for row in np.load(home / "boxes.npy")
    ]


@pytest.fixture(scope="module")
def fetched(home: Path) -> Path:
    """The model's files, as anyone gets them from the registry."""
    store = f"sqlite:///{home / 'runs' / 'mlflow.db'}"
    with as_default(store):
        return Path(mlflow.artifacts.download_artifacts(MODEL, dst_path=str(home / "fetched")))


@pytest.fixture(scope="module")
def python(fetched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the model's requirements and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    install = [str(interpreter), "-m", "pip", "install", "--quiet", "-r", str(fetched / "requirements.txt")]
    subprocess.run(install, check=True, timeout=1800)
    return interpreter


def assert_same(found: list[dict[str, Any]], boxes: list[dict[str, Any]]) -> None:
    """The same boxes; other threads add up in another order, which may change a number's last bit."""
    for name in ("t_us", "class", "track"):
        assert [box[name] for box in found] == [box[name] for box in boxes]
    for name in ("x", "y", "w", "h", "score"):
        assert [box[name] for box in found] == pytest.approx([box[name] for box in boxes], abs=1e-5)


def test_an_environment_of_its_own_requirements_finds_the_same_boxes(
    home: Path, recording: Path, boxes: list[dict[str, Any]], python: Path
) -> None:
    store = f"sqlite:///{home / 'runs' / 'mlflow.db'}"
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    done = subprocess.run(
        [python, "-c", ASK, store, MODEL, recording, str(LEAST_SCORE)],
        cwd=python.parent,
        env={**environment, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    of_file, of_columns = json.loads(done.stdout.splitlines()[-1])
    assert len(boxes) > 0
    assert_same(of_file, boxes)
    assert_same(of_columns, boxes)


@pytest.fixture(scope="module")
def served(fetched: Path) -> Iterator[str]:
    """`mlflow models serve` on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-m", str(fetched)]
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        env={**environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while not answers(address):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def asked(address: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    data = json.dumps({**body, "params": {"least_score": LEAST_SCORE}}).encode()
    request = Request(f"{address}/invocations", data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=120) as answer:
        return list(json.loads(answer.read())["predictions"])


def test_a_server_finds_the_same_boxes_in_a_file_and_in_arrays(
    served: str, recording: Path, boxes: list[dict[str, Any]]
) -> None:
    text = base64.b64encode(recording.read_bytes()).decode()
    assert_same(asked(served, {"dataframe_records": [{"events": text, "suffix": "_td.h5"}]}), boxes)
    with h5py.File(recording) as file:
        columns = {name: file["events"][name][:].tolist() for name in "txyp"}
    assert_same(asked(served, {"inputs": columns}), boxes)
