"""Recordings ingested on two nodes, from a store into the store: the driver is killed, and later a node."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
import pytest
from ray.cluster_utils import Cluster

from data.boxes import BOX_DTYPE
from data.ingest.ingest import IngestOptions, ingest
from data.ingest.place import _places
from data.storage import open_storage
from tests.object_store import BUCKET, KEYS, S3Server, s3_server
from tests.system.ray_head import ray_head
from tests.system.servers import until

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
RECORDINGS, EVENTS = 14, 300_000
DAMAGED = "r3"
COMMAND = "from tuner.cli import main; main()"


def write_recording(folder: Path, number: int) -> None:
    random = np.random.default_rng(number)
    name = f"r{number}"
    place = folder / "HDF5" / f"{'val' if number % 4 == 0 else 'train'}_h5_1"
    place.mkdir(parents=True, exist_ok=True)
    times = np.sort(random.integers(0, 10**6, EVENTS))
    with h5py.File(place / f"{name}_td.h5", "w") as file:
        file["events/t"] = times
        file["events/x"] = random.integers(0, 320, EVENTS).astype(np.uint16)
        file["events/y"] = random.integers(0, 180, EVENTS).astype(np.uint16)
        file["events/p"] = np.full(EVENTS, 7) if name == DAMAGED else random.integers(0, 2, EVENTS).astype(np.int16)
        file["events/width"], file["events/height"] = 320, 180
    np.save(place / f"{name}_bbox.npy", np.array([(600_000, 10, 20, 30, 40, 1, 5, 1)], BOX_DTYPE))


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


@dataclass
class Made:
    """Recordings in a folder and in a store, and the dataset that one machine makes of them."""

    home: Path
    server: S3Server
    whole: dict[str, bytes]

    def shards(self, folder: str) -> int:
        return sum(key.endswith(".arrow") for key in self.server.objects(folder))

    def stored(self, folder: str) -> dict[str, bytes]:
        with contextlib.closing(self.server.client()) as client:
            return {
                key: client.get_object(Bucket=BUCKET, Key=f"{folder}/{key}")["Body"].read()
                for key in self.server.objects(folder)
            }


@dataclass
class Lab(Made):
    """The same, and a cluster of two nodes."""

    cluster: Cluster
    nodes: list[Any]

    def started(self, *arguments: str) -> "subprocess.Popen[str]":
        return started(self.home, {**os.environ, "RAY_ADDRESS": self.cluster.address}, *arguments)

    def ingest(self, source: str, target: str) -> "subprocess.Popen[str]":
        return self.started("ingest", source, target, "--labels", "etram3", "--skip-damaged", "--on-cluster")


def started(home: Path, environment: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=home, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    home = tmp_path_factory.mktemp("cluster")
    for number in range(RECORDINGS):
        write_recording(home / "recordings", number)
    ingest(home / "recordings", home / "whole", IngestOptions(labels="etram3", skip_damaged=True))
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        storage = open_storage(server.url("recordings"))
        for path in (home / "recordings").rglob("*.*"):
            storage.put(path, PurePosixPath(path.relative_to(home / "recordings")))
        yield Made(home, server, contents(home / "whole"))


@pytest.fixture(scope="module")
def lab(made: Made) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT)}.items():
            patch.setenv(name, value)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
            yield Lab(made.home, made.server, made.whole, cluster, nodes)
        finally:
            cluster.shutdown()


def test_from_a_shared_folder_into_one_the_dataset_is_that_of_one_machine(lab: Lab) -> None:
    done = lab.ingest(str(lab.home / "recordings"), str(lab.home / "shared"))
    said = done.communicate(timeout=120)[0]
    assert done.returncode == 0, said
    assert contents(lab.home / "shared") == lab.whole
    assert f"{RECORDINGS - 1} recordings (9 train, 4 val)" in said
    assert f"left out train/{DAMAGED}: HDF5/train_h5_1/{DAMAGED}_td.h5: row 0: polarity p=7" in said
    assert not list((lab.home / "shared").glob(".ingest/**/*"))


def test_an_audit_on_the_cluster_finds_what_one_on_this_machine_does(lab: Lab) -> None:
    arguments = ("audit", str(lab.home / "recordings"), "--labels", "etram3", "--json")
    found = []
    for further in ((), ("--on-cluster",)):
        done = lab.started(*arguments, *further)
        said = done.communicate(timeout=120)[0]
        assert done.returncode == 1, said
        found.append(json.loads(said[said.index("{\n") :]))
    here, there = found
    for recording in (*here["recordings"], *there["recordings"]):
        assert recording.pop("read_s") >= 0
    assert here["findings"] == there["findings"]
    assert here["recordings"] == there["recordings"]


def test_killed_with_its_driver_it_goes_on_to_the_same_bytes(lab: Lab) -> None:
    source, target = lab.server.url("recordings"), lab.server.url("resumed")
    driver = lab.ingest(source, target)
    until(lambda: lab.shards("resumed") >= 3 or driver.poll() is not None, 120)
    assert driver.poll() is None
    driver.kill()
    driver.communicate()
    assert "manifest.json" not in lab.server.objects("resumed")
    again = lab.ingest(source, target)
    said = again.communicate(timeout=120)[0]
    assert again.returncode == 0, said
    assert "going on: an interrupted ingestion has done" in said
    assert lab.stored("resumed") == lab.whole


def test_what_a_lost_node_had_is_done_on_the_other_one(lab: Lab) -> None:
    target = lab.server.url("survived")
    driver = lab.ingest(lab.server.url("recordings"), target)
    busy = _places(open_storage(target))[0]
    until(lambda: len(list(busy.glob("*-*/*/*"))) == 2 or driver.poll() is not None, 120)  # one on each node
    assert driver.poll() is None
    lab.cluster.remove_node(lab.nodes[0], allow_graceful=False)
    said = driver.communicate(timeout=120)[0]
    assert driver.returncode == 0, said
    assert "is gone; it is done elsewhere" in said
    assert lab.stored("survived") == lab.whole


def test_as_a_job_it_is_ingested_and_audited_and_tells_how_far_it_is(made: Made) -> None:
    secrets = made.home / "job.env"
    secrets.write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
    secrets.chmod(0o600)
    source, target = made.server.url("recordings"), made.server.url("sent")
    options = ("--labels", "etram3", "--skip-damaged", "--env-file", str(secrets), "--wait")
    with ray_head() as head:
        environment = {name: text for name, text in head.client_environment.items() if not name.startswith("AWS_")}

        def said(*arguments: str) -> str:
            command = started(made.home, {**environment, "PYTHONPATH": str(ROOT)}, *arguments)
            text = command.communicate(timeout=300)[0]
            assert command.returncode == 0, text
            return text

        sent = said("submit-ingest", source, target, *options)
        job = next(line.split()[1] for line in sent.splitlines() if line.startswith("submitted "))
        told = json.loads(said("status", job, "--json"))
        text = said("results", job)
    assert made.stored("sent") == made.whole
    assert (told["state"], told["work"]["phase"]) == ("finished", "done")
    assert f"{RECORDINGS - 1} recordings (9 train, 4 val)" in text
    assert "audit: note: no recording is in split 'test'" in text
