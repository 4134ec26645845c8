"""What the doctor finds out: of this machine in a process of its own, of servers, and of what it is asked."""

import base64
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from data.errors import InputError
from tuner.cli import app
from tuner.doctor import begin
from tuner.doctor.begin import Wishes, diagnose
from tuner.doctor.child import cluster_facts
from tuner.doctor.facts import Questions
from tuner.doctor.gather import gather
from tuner.doctor.node import Examiner, secret_file
from tuner.doctor.reach import programs
from tuner.doctor.service_facts import mlflow_facts, stranger_asks, study_facts
from tuner.doctor.verdict import Level

PASSWORD = base64.b64encode(b"ann:secret").decode()


class Guarded(BaseHTTPRequestHandler):
    """Lets in who has the password."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == f"Basic {PASSWORD}"
        self.send_response(200 if known else 401)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("RAY_", "MLFLOW_", "SPIKETUNE_S"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(begin, "default_folder", lambda: tmp_path / "services")


def test_this_machine_says_what_it_is_and_has(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / ".pgpass").touch(mode=0o600)
    asked = Questions(address=None, shared=str(tmp_path / "shared"), dataset=str(dataset), patience_s=60)
    facts = cluster_facts(asked, 120)
    (node,) = facts.nodes
    assert (facts.wrong, node.silent, node.node) == ("", "", "this machine")
    assert set(node.versions) == {"python", "ray", "torch", "spiketune", "code"}
    assert all(node.versions.values())
    assert {disk.place for disk in node.disks} == {"temporary files", "the node cache", "the shared folder"}
    assert all(0 < disk.free_gb < disk.total_gb for disk in node.disks)
    assert [(file.path, file.mode) for file in node.secrets] == [(str(tmp_path / ".pgpass"), 0o600)]
    assert node.shared is not None
    assert (node.shared.wrong_writing, node.shared.wrong_reading) == ("", "")
    assert list((tmp_path / "shared").iterdir()) == []  # what was written there is removed
    assert node.dataset is not None
    assert len(node.dataset.digest) == 64


def test_an_examination_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Questions(address=None, shared=None, dataset=None, patience_s=60)
    assert cluster_facts(asked, 0.01).wrong == "no answer in 0 s"


class Two:
    """Two nodes of which the second sees another folder under the same name."""

    def __init__(self, folders: dict[str, Path]) -> None:
        from tuner.doctor.asked import NodeName

        self.names: Mapping[str, NodeName] = {name: NodeName(name) for name in folders}
        self.silent: dict[str, str] = {}
        self.lost: tuple[str, ...] = ()
        self._folders = folders

    def ask(self, method: str, arguments: Any) -> dict[str, Any]:
        return {
            node: {} if method == "about" else getattr(Examiner(), method)(str(self._folders[node]), *each[1:])
            for node, each in arguments.items()
        }

    def clock(self, node: str) -> tuple[float, float]:
        return {"a": (0.0, 0.001), "b": (75.0, 0.5)}[node]


def test_a_folder_that_is_not_the_same_on_two_nodes_is_found(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("a", "b")}
    for folder in folders.values():
        folder.mkdir()
    asked = Questions(address="auto", shared="/shared", dataset=None, patience_s=1)
    first, second = gather(Two(folders), asked)
    assert first.shared is not None
    assert second.shared is not None
    assert (first.shared.wrong_writing, first.shared.wrong_reading) == ("", "")
    assert second.shared.wrong_reading.startswith("what a wrote in ")
    assert (second.ahead_s, second.unsure_s) == (75.0, 0.5)
    assert not any(any(folder.iterdir()) for folder in folders.values())


def test_a_folder_that_is_missing_is_not_made(tmp_path: Path) -> None:
    assert Examiner().write(str(tmp_path / "none"), "name", "text") == f"{tmp_path / 'none'} is no folder there"
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_is_told() -> None:
    assert "cannot be written" in Examiner().write("/proc/sys", "name", "text")


def test_another_content_than_was_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("other")
    assert Examiner().read(str(tmp_path), "name", "text", "b") == f"{tmp_path}/name holds something else than b wrote"


def test_a_dataset_that_is_none_is_told(tmp_path: Path) -> None:
    told = Examiner().dataset(str(tmp_path))
    assert told["digest"] == ""
    assert str(tmp_path) in told["wrong"]


def test_only_files_have_a_mode_to_judge(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0o640)
    found = secret_file(tmp_path / "secret")
    assert found is not None
    assert found.mode == 0o640
    assert secret_file(tmp_path) is None
    assert secret_file(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("user", "password", "status"), [("ann", "secret", 200), ("ann", "wrong", 401), ("bob", "secret", 401)]
)
def test_mlflow_is_asked_with_the_password_and_without(
    guarded: str, monkeypatch: pytest.MonkeyPatch, user: str, password: str, status: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    facts = mlflow_facts()
    assert facts is not None
    assert facts.known is not None
    assert facts.stranger is not None
    assert (facts.known.status, facts.stranger.status) == (status, 401)


def test_a_stranger_brings_no_password_of_a_netrc(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert stranger_asks(guarded).status == 401


def test_a_server_that_is_not_there_is_told_in_few_words() -> None:
    told = stranger_asks("http://127.0.0.1:1/")
    assert (told.status, told.wrong) == (None, "[Errno 111] Connection refused")


@pytest.mark.parametrize("uri", ["sqlite:////x.db", None])
def test_records_that_are_no_servers_are_not_asked(uri: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    facts = mlflow_facts()
    assert facts is None or facts.known is None


def test_a_database_is_written_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETUNE_STUDY_URL", f"sqlite:///{tmp_path}/study.db")
    for _ in range(2):  # the second finds no table of the first
        facts = study_facts()
        assert facts is not None
        assert (facts.wrong_connecting, facts.wrong_writing, facts.lets_strangers_in) == ("", "", False)


def test_a_database_that_is_none_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETUNE_STUDY_URL", "postgresql+psycopg://ann:secret@127.0.0.1:1/studies")
    facts = study_facts()
    assert facts is not None
    assert "refused" in facts.wrong_connecting
    assert "secret" not in facts.model_dump_json()


@pytest.mark.parametrize(("needed", "level"), [(True, Level.FAIL), (False, Level.WARN)])
def test_a_missing_rsync_is_found(monkeypatch: pytest.MonkeyPatch, needed: bool, level: Level) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "rsync" else f"/usr/bin/{name}")
    (verdict,) = programs(needed)
    assert (verdict.level, verdict.found) == (level, "rsync cannot be found here")


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://10.0.0.5:10001"])
def test_an_address_that_is_not_rays_own_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="must be Ray's own"):
        diagnose(Wishes(address=address), None)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match="must be Ray's own"):
        diagnose(Wishes(), None)


def test_an_env_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "client.env").write_text("no variable\n")
    with pytest.raises(InputError, match="line 1 is no KEY=VALUE"):
        diagnose(Wishes(env_file=tmp_path / "client.env"), None)
    with pytest.raises(InputError, match="cannot be read"):
        diagnose(Wishes(env_file=tmp_path / "none.env"), None)


def test_the_command_says_what_it_finds_and_ends_with_1_where_something_failed(tmp_path: Path, dataset: Path) -> None:
    sound = CliRunner().invoke(app, ["doctor", "--json", "--data", str(dataset)])
    told = json.loads(sound.stdout)
    failed = {each["check"] for each in told["verdicts"] if each["level"] == "fail"}
    assert failed <= {"ports"}  # of what else this machine may serve to the world
    assert (sound.exit_code, told["healthy"]) == ((1, False) if failed else (0, True))
    (tmp_path / ".pgpass").touch(mode=0o644)
    (tmp_path / ".pgpass").chmod(0o644)
    sick = CliRunner().invoke(app, ["doctor"])
    assert sick.exit_code == 1
    assert f"fail  secret files    this machine: others may read {tmp_path}/.pgpass (mode 644)\n" in sick.stdout
    assert f"                      -> chmod 600 {tmp_path}/.pgpass\n" in sick.stdout
