"""From recordings in an object store to a search, over a network that fails on the way in and on the way out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from data.manifest import MANIFEST
from data.storage import open_storage
from tests.object_store import KEYS, Proxy, S3Server, s3_server
from tests.system.command import run, small_spec

pytestmark = pytest.mark.system

MB = 1 << 20


def spiketune(folder: Path, *arguments: str) -> str:
    done = run(folder, arguments, **KEYS, SPIKETUNE_CACHE=str(folder / "cache"))
    assert "inaliz" not in done.stderr  # pyarrow's complaint about an S3 that was not shut down
    return done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def ingested(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder; simulated recordings went into the store, and from there as a dataset back into it."""
    folder = tmp_path_factory.mktemp("far")
    spiketune(folder, "simulate", "traffic", "--train", "2", "--val", "1", "--test", "0", "--duration-s", "1.5")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        storage = open_storage(server.url("traffic"))
        for file in open_storage(folder / "traffic").files():
            storage.put(folder / "traffic" / file.path, file.path)
    fetching = Proxy(server.port, up=False, after_bytes=MB, times=1)
    putting = Proxy(server.port, up=True, after_bytes=MB, times=1)
    locations = (server.url("traffic", fetching.port), server.url("dataset", putting.port))
    spiketune(folder, "ingest", *locations, "--labels", "etram8")
    for proxy in (fetching, putting):
        proxy.close()
        assert proxy.cuts == 1
    return folder


def test_a_dataset_made_from_the_store_in_the_store_is_the_one_made_from_a_folder_in_a_folder(
    ingested: Path, server: S3Server
) -> None:
    spiketune(ingested, "ingest", "traffic", "near", "--labels", "etram8")
    near = json.loads((ingested / "near" / "manifest.json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        content = open_storage(server.url("dataset")).read(MANIFEST)
    assert content is not None
    far = json.loads(content)
    assert [entry["sha256"] for entry in far["recordings"]] == [entry["sha256"] for entry in near["recordings"]]
    shards = {f"{entry['split']}/{entry['name']}.arrow" for entry in far["recordings"]}
    assert len(shards) == 3
    assert set(server.objects("dataset")) == {"manifest.json"} | shards


def test_a_search_on_a_dataset_in_the_store_names_its_winner(ingested: Path, server: S3Server) -> None:
    (ingested / "far.yaml").write_text(small_spec("far", trials=2, epochs=2), encoding="utf-8")
    proxy = Proxy(server.port, up=False, after_bytes=MB, times=1)
    location = server.url("dataset", proxy.port)
    result: dict[str, Any] = json.loads(spiketune(ingested, "search", "far.yaml", "--data", location, "--json"))
    proxy.close()
    assert proxy.cuts == 1
    assert result["trials"]["failed"] == 0
    assert sum(result["trials"].values()) == 2
    shards = [path for path in (ingested / "cache" / "shards").iterdir() if path.is_file()]
    assert len(shards) == 3  # each fetched once, and kept
    client = MlflowClient(tracking_uri=f"sqlite:///{ingested / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("spiketune")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.kind = 'search'")
    assert parent.data.tags["dataset"] == location


def test_train_and_evaluate_take_the_location_too(ingested: Path, server: S3Server) -> None:
    location = server.url("dataset")
    settings = ["data.scale=0.5", "data.time_steps=2", "training.windows_per_epoch=8", "training.epochs=1"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    spiketune(ingested, "train", "--data", location, "--out", "trained", *arguments)
    said = spiketune(ingested, "evaluate", "trained/last.safetensors", "--data", location, "--json")
    assert json.loads(said)["windows"] > 0
