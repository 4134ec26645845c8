"""What the head's services are told and keep: addresses, passwords, supervisord's file, and what a dead host left."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from supervisor.options import ServerOptions
from typer.testing import CliRunner

from data.errors import InputError
from tuner.cli import app
from tuner.services import lifecycle, postgres, programs, settings, sole
from tuner.services.accounts import check_user_name
from tuner.services.programs import write_configuration
from tuner.services.remains import end_postgres
from tuner.services.settings import Settings, check_address, check_artifacts, check_free, plain_shared_folder
from tuner.services.state import State, state_at, write_private

SETTINGS = Settings("127.0.0.1", "head", "/shared", "s3://bucket/runs", 5000, 5432, 2, keep_jobs=True)


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path)
    made.make(None)
    return made


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "8.8.8.8", "2001:4860:4860::8888"])
def test_an_address_that_strangers_may_reach_is_refused_unless_it_is_wanted(address: str) -> None:
    with pytest.raises(InputError, match="the world may reach it"):
        check_address(address, public=False)


def test_every_address_may_be_meant_and_loopback_need_not_be_said_to_be() -> None:
    check_address("0.0.0.0", public=True)
    check_address("127.0.0.1", public=False)


@pytest.mark.parametrize(
    ("address", "rule"), [("head", "is no IP address"), ("192.0.2.7", "has no such address"), ("", "is no IP address")]
)
def test_what_is_no_address_of_this_machine_is_refused(address: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):  # 192.0.2.0/24 is for examples, no machine has it
        check_address(address, public=False)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--mlflow-port {port}: cannot be used at 127.0.0.1"):
            check_free("--mlflow-port", "127.0.0.1", port)


@pytest.mark.parametrize(
    ("place", "rule"),
    [("runs", "absolute path"), ("s3://me:secret@bucket/x", "carries a password"), ("/a b", "letters of ASCII")],
)
def test_a_place_for_files_that_would_not_do_is_refused(place: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        check_artifacts(place)


def test_the_plain_shared_folder_must_be_named_and_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, rule in (("", "absolute path"), ("here", "absolute path"), (str(tmp_path / "x"), "is no folder")):
        monkeypatch.setenv("SPIKETUNE_SHARED", given)
        with pytest.raises(InputError, match=rule):
            plain_shared_folder()
    monkeypatch.setenv("SPIKETUNE_SHARED", str(tmp_path))
    assert plain_shared_folder() == str(tmp_path)


@pytest.mark.parametrize("name", ["Ann", "1a", "a_b", "a;b", "a" * 32, "", "admin", "mlflow", "spiketune", "postgres"])
def test_a_name_that_no_user_may_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="add-user"):
        check_user_name(name)


def test_a_password_is_made_once_and_is_its_owners(state: State) -> None:
    first = state.secret("one")
    assert len(first) == 32
    assert state.secret("one") == first
    assert state.secret("two") != first
    assert stat.S_IMODE((state.folder / "secrets" / "one").stat().st_mode) == 0o600


def test_a_private_file_is_private_whatever_the_umask_and_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "client.env"
    path.write_text("open")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        write_private(path, "closed")
    finally:
        os.umask(before)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("closed", 0o600)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("folder", "rule"), [("/a b", "letters of ASCII"), ("/" + "x" * 80, "too long")])
def test_a_folder_that_supervisord_could_not_use_is_refused(folder: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        state_at(Path(folder))


def test_only_its_owner_enters_the_folder_and_one_group_may_pass(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.make(None)
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700
    state.make(os.getgid())
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o710
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.folder.iterdir()} == {0o700}


@pytest.fixture
def configured(state: State, monkeypatch: pytest.MonkeyPatch) -> tuple[State, dict[str, Any]]:
    """The programs, as supervisord itself reads them from the file."""
    monkeypatch.setattr(postgres, "binaries", lambda _: Path("/usr/lib/postgresql/17/bin"))
    monkeypatch.setattr(postgres, "runs_as", lambda: None)
    state.database.mkdir(parents=True)
    assert write_configuration(state, SETTINGS) == ["postgres", "mlflow", "keeper"]
    options = ServerOptions()
    options.realize(["-c", str(state.configuration)])
    return state, {group.name: group.process_configs[0] for group in options.process_group_configs}


def test_supervisord_reads_every_program_with_what_it_is_to_know(
    configured: tuple[State, dict[str, Any]],
) -> None:
    state, found = configured
    mlflow = found["mlflow"]
    url = f"postgresql+psycopg://mlflow:{state.secret('mlflow')}@127.0.0.1:5432/mlflow"
    assert mlflow.environment["MLFLOW_BACKEND_STORE_URI"] == url
    assert mlflow.environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert found["keeper"].environment == {"SPIKETUNE_SHARED": "/shared"}
    assert all(program.autorestart is not False for program in found.values())


def test_no_password_is_on_a_command_line(configured: tuple[State, dict[str, Any]]) -> None:
    state, found = configured
    known = [file.read_text() for file in (state.folder / "secrets").iterdir()]
    assert len(known) == 3  # of MLflow's database, its administrator, and its pages
    commands = " ".join(program.command for program in found.values())
    assert "--artifacts-destination s3://bucket/runs" in commands
    assert [secret for secret in known if secret in commands] == []
    holders = {path for path in state.folder.rglob("*") if path.is_file()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}


def test_all_that_listens_is_told_the_address(configured: tuple[State, dict[str, Any]]) -> None:
    _, found = configured
    words = found["mlflow"].command.split()
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--allowed-hosts") + 1].split(",")[0].strip("'") == "head:5000"
    assert "listen_addresses=127.0.0.1" in found["postgres"].command.split()
    two = postgres.server_command(
        State(Path("/s")), Settings("10.0.0.5", "h", "", "", 1, 2, 1, keep_jobs=False), Path("/b")
    )
    assert "listen_addresses=127.0.0.1,10.0.0.5" in two


def marked(program: str, socket: str) -> subprocess.Popen[bytes]:
    """A process that a supervisord could have started, which does not care to be asked to end."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={"SUPERVISOR_SERVER_URL": socket, "SUPERVISOR_PROCESS_NAME": program},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_what_an_earlier_run_left_is_found_by_its_supervisor_and_name_and_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sole, "_PATIENCE_S", 0.2)
    ours, other = "unix:///ours.sock", "unix:///other.sock"
    started = [marked("mlflow", ours), marked("keeper", ours), marked("mlflow", other)]
    try:
        assert [found.pid for found in sole.left_behind(ours, "mlflow")] == [started[0].pid]
        assert {found.pid for found in sole.left_behind(ours)} == {started[0].pid, started[1].pid}
        sole.end(sole.left_behind(ours, "mlflow"))
        assert not psutil.pid_exists(started[0].pid)  # it was asked in vain, so it was killed
        assert started[1].poll() is None
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def test_a_lock_that_names_another_process_is_removed_and_the_process_left_alone(state: State) -> None:
    state.database.mkdir(parents=True)
    lock = state.database / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{state.database}\n")
    end_postgres(state)
    assert not lock.exists()
    assert psutil.pid_exists(os.getpid())


def test_a_server_that_a_dead_supervisor_left_is_ended_in_order(state: State) -> None:
    state.database.mkdir(parents=True)
    told = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit('interrupted')); print(flush=True); "
    with subprocess.Popen(
        [sys.executable, "-c", told + "signal.pause()"],
        cwd=state.database,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdout.readline()
        (state.database / "postmaster.pid").write_text(f"{server.pid}\n")
        end_postgres(state)
        assert server.stderr.read() == b"interrupted\n"


def test_nothing_is_there_to_stop_or_to_ask_where_nothing_was_started(state: State) -> None:
    lifecycle.stop(state)
    with pytest.raises(InputError, match="no services were started here"):
        lifecycle.status(state)


def test_services_that_were_stopped_are_told_to_be(state: State) -> None:
    settings.save_settings(state, SETTINGS)
    found = lifecycle.status(state)
    assert [(program.name, program.state, program.answers) for program in found] == [
        (name, "STOPPED", None) for name in (programs.POSTGRES, programs.MLFLOW, programs.KEEPER)
    ]


def test_a_missing_package_is_told_with_the_command_that_brings_it(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_NEEDED", ("supervisor", "a_package_that_is_not_there"))
    with pytest.raises(InputError, match=r"\(a_package_that_is_not_there\); run `./environment.sh cluster`"):
        lifecycle.start(state, SETTINGS, print)


def test_the_command_refuses_to_listen_to_the_world(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["services", "start", "--state", str(tmp_path), "--address", "0.0.0.0"])
    assert isinstance(done.exception, InputError)
    assert list(tmp_path.iterdir()) == []
