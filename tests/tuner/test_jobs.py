"""Jobs of a cluster without one: what is sent, what is kept of it, and what becomes of a driver that is gone."""

import itertools
import json
import os
import re
import shlex
import stat
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.job_submission import JobDetails, JobType
from ray.job_submission import JobStatus as RayStatus
from typer.testing import CliRunner

from data.errors import InputError
from tuner.cli import app
from tuner.jobs import drive, keeper
from tuner.jobs.client import Client, Job, JobStatus
from tuner.jobs.environment import load_from, parse_environment, read_environment, shared_folder
from tuner.jobs.fate import GRACE_S, Fate, fate_of
from tuner.jobs.kinds import Told
from tuner.jobs.order import Order, is_job
from tuner.jobs.package import packed
from tuner.jobs.ray_jobs import DEFAULT_ADDRESS, job_address
from tuner.jobs.record import Ending, Record, Records
from tuner.jobs.search_order import search_order
from tuner.spec.search_spec import load_spec

ROOT = Path(__file__).parents[2]
JOB = "night-0123456789"
ORDER = Order("search", "night", {"dataset": "/shared/ds"}, {"job.yaml": b"name: night\n"})
SPEC = """\
name: night
space:
  loss.box: {log_uniform: [2, 15]}
budget: {trials: 3, epochs: 2}
"""


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    file = tmp_path / "my.env"
    file.write_text("# mine\n\nPASSWORD='four seven'\nexport_me=1\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def records(tmp_path: Path) -> Records:
    (tmp_path / "shared").mkdir()
    return Records(tmp_path / "shared")


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])),
    )
)
def test_an_env_file_is_read_as_a_shell_reads_it(variables: dict[str, str]) -> None:
    text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in variables.items())
    assert parse_environment(text, Path("x.env")) == variables


@pytest.mark.parametrize(
    "line", ["PASSWORD", "4711=hunter2", "A=hunter2 hunter3", "A='hunter2", "=hunter2", "A B=hunter2"]
)
def test_a_line_that_is_none_is_told_without_its_value(line: str) -> None:
    with pytest.raises(InputError, match=r"x\.env: line 2 is no KEY=VALUE") as raised:
        parse_environment(f"OK=1\n{line}\n", Path("x.env"))
    assert "hun" not in str(raised.value)


def test_an_env_file_that_others_may_read_is_refused(env_file: Path) -> None:
    assert read_environment(env_file) == {"PASSWORD": "four seven", "export_me": "1"}
    env_file.chmod(0o640)
    with pytest.raises(InputError, match=r"others may read it \(mode 640\); chmod 600"):
        read_environment(env_file)


def test_the_env_file_of_a_working_directory_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETUNE_TEST_SECRET", "before")
    load_from(tmp_path)
    (tmp_path / "job.env").write_text("SPIKETUNE_TEST_SECRET=after\n")
    load_from(tmp_path)
    assert os.environ["SPIKETUNE_TEST_SECRET"] == "after"


@pytest.mark.parametrize("given", ["", "relative/folder", "/no/such/folder"])
def test_the_shared_folder_must_be_there(given: str) -> None:
    with pytest.raises(InputError, match="SPIKETUNE_SHARED="):
        shared_folder({"SPIKETUNE_SHARED": given})


def sent(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_working_directory_holds_the_code_the_order_and_the_env_file_alone(env_file: Path) -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    code = {
        path.relative_to(ROOT).as_posix()
        for package in tools["packages"]
        for path in (ROOT / package.replace(".", "/")).glob("*.py")
    }
    code |= {f"{package}/{name}" for package, names in tools["package-data"].items() for name in names}
    with packed(ORDER, env_file) as package:
        assert sent(package.folder) == code | {"order.json", "job.yaml", "job.env"}
        assert stat.S_IMODE(package.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((package.folder / "job.env").stat().st_mode) == 0o600
        assert Order.read(package.folder) == replace(ORDER, files={})
        size = sum(path.stat().st_size for path in package.folder.rglob("*"))
        assert size < 10e6
    assert not package.folder.exists()


def test_a_job_s_id_tells_what_is_sent_but_not_with_which_passwords(env_file: Path) -> None:
    def job(order: Order, env: Path | None = None) -> str:
        with packed(order, env) as package:
            return package.job

    first = job(ORDER)
    assert is_job(first)
    assert first.startswith("night-")
    assert job(ORDER) == job(ORDER, env_file) == first
    others = [
        replace(ORDER, settings={"dataset": "/shared/other"}),
        replace(ORDER, files={"job.yaml": b"name: night\nbudget: 5\n"}),
        replace(ORDER, name="day"),
    ]
    assert len({first, *map(job, others)}) == 4


def test_a_working_directory_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.jobs.package.MOST_BYTES", 1 << 20)
    with pytest.raises(InputError, match="MiB, more than 1; large files belong"), packed(ORDER, None):
        pass


@pytest.mark.parametrize("name", ["", "-a", "a b", "../a", "a/b", "x" * 61])
def test_a_name_that_would_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        Order("search", name, {})


def test_what_is_given_besides_the_spec_is_written_into_it(spec: Path, tmp_path: Path) -> None:
    order = search_order(spec, "/shared/ds", "mine", trials=7, priority="high", max_concurrent=3)
    assert (order.name, order.settings) == ("mine", {"dataset": "/shared/ds"})
    (tmp_path / "job.yaml").write_bytes(order.files["job.yaml"])
    file = load_spec(tmp_path / "job.yaml").file
    assert (file.name, file.budget.trials) == ("night", 7)
    assert (file.resources.priority.value, file.resources.max_concurrent) == ("high", 3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"priority": "urgent"}, "--priority"),
        ({"trials": 0}, "--trials"),
        ({"data": "datasets/x"}, r"--data datasets/x: is relative"),
        ({"name": "a b"}, "--name a b"),
        ({"env_file": Path("none.env")}, "--env-file none.env"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    spec: Path, options: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.jobs.client.connect", lambda _: pytest.fail("asked the cluster"))
    with pytest.raises(InputError, match=told):
        Client().submit(spec, **{"data": "/shared/ds", **options})


def test_a_wrong_spec_is_not_sent(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.jobs.client.connect", lambda _: pytest.fail("asked the cluster"))
    spec.write_text(SPEC.replace("loss.box", "loss.bocks"))
    with pytest.raises(InputError, match=r"loss\.bocks"):
        Client().submit(spec, "/shared/ds")


@pytest.mark.parametrize(
    ("environment", "given", "address"),
    [
        ({}, None, DEFAULT_ADDRESS),
        ({"RAY_ADDRESS": "10.0.0.5:6379"}, None, DEFAULT_ADDRESS),
        ({"RAY_ADDRESS": "http://h:8265"}, None, "http://h:8265"),
        ({"RAY_ADDRESS": "http://h:1", "RAY_API_SERVER_ADDRESS": "http://a:2/"}, None, "http://a:2"),
        ({"RAY_API_SERVER_ADDRESS": "http://a:2"}, "http://b:3", "http://b:3"),
    ],
)
def test_the_job_server_s_address(
    environment: dict[str, str], given: str | None, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert job_address(given) == address


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="must be the job server's"):
        job_address("10.0.0.5:6379")


def test_a_record_is_read_as_it_was_written(records: Records) -> None:
    record = Record.new(JOB, ORDER).begun("head").ended(Ending.FAILED, "every trial failed")
    records.write(record)
    assert records.read(JOB) == record
    assert records.all() == [record]
    assert stat.S_IMODE(records.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("job", ["../../etc/passwd", "night", "night-0123456789/../x", "night-01234"])
def test_a_job_s_id_cannot_lead_out_of_the_folder(records: Records, job: str) -> None:
    with pytest.raises(InputError, match="is no job's id"):
        records.read(job)


def test_a_damaged_record_is_told(records: Records) -> None:
    (records.folder / f"{JOB}.json").write_text('{"job": 1')
    with pytest.raises(InputError, match="is no record that can be read; remove it"):
        records.read(JOB)


def test_what_was_sent_is_kept_for_its_owner_alone(records: Records, env_file: Path) -> None:
    with packed(ORDER, env_file) as package:
        before = sent(package.folder)
        records.keep_package(JOB, package.folder)
    kept = records.package(JOB)
    assert sent(kept) == before
    modes = {stat.S_IMODE(path.stat().st_mode) for path in kept.rglob("*")}
    assert modes == {0o700, 0o600}
    assert records.undertaking(JOB).order.settings == ORDER.settings


def details(status: str, code: int | None = None, ended_s: float = 0) -> JobDetails:
    return JobDetails(
        type=JobType.SUBMISSION,
        submission_id=JOB,
        entrypoint="",
        status=RayStatus(status),
        driver_exit_code=code,
        end_time=int(ended_s * 1000),
        message="last words",
    )


NOW_S = 1_000_000.0
SENT = replace(Record.new(JOB, ORDER), submitted_s=NOW_S - 1000, sent_s=NOW_S - 1000)
BEGUN = replace(SENT, begun_s=NOW_S - 990)


@pytest.mark.parametrize(
    ("record", "driver", "fate"),
    [
        (SENT, details("PENDING"), Fate.WAITING),
        (SENT, details("RUNNING"), Fate.WAITING),
        (BEGUN, details("RUNNING"), Fate.RUNNING),
        (BEGUN.stopped(), details("RUNNING"), Fate.STOPPING),
        (BEGUN.stopped(), details("STOPPED"), Fate.STOPPED),
        (BEGUN.stopped(), None, Fate.STOPPED),
        (BEGUN, details("STOPPED"), Fate.STOPPED),  # by `ray job stop`
        (BEGUN.ended(Ending.FINISHED), details("SUCCEEDED", 0), Fate.FINISHED),
        (BEGUN.ended(Ending.FAILED), None, Fate.FAILED),
        (BEGUN, details("FAILED", 1), Fate.FAILED),  # it could not even write its record
        (BEGUN, details("FAILED", -9), Fate.KILLED),
        (BEGUN, details("FAILED", 137), Fate.KILLED),
        (BEGUN, details("FAILED", None), Fate.KILLED),  # with Ray's own process that looks after it
        (BEGUN, None, Fate.LOST),
        (SENT, None, Fate.LOST),
        (replace(SENT, sent_s=NOW_S - GRACE_S / 2), None, Fate.WAITING),  # Ray is just being told
    ],
)
def test_what_has_become_of_a_job(record: Record, driver: JobDetails | None, fate: Fate) -> None:
    assert fate_of(record, driver, NOW_S) is fate


@dataclass
class Server:
    """What Ray knows, and what it is given."""

    known: dict[str, JobDetails] = field(default_factory=dict)
    given: list[dict[str, Any]] = field(default_factory=list)

    def list_jobs(self) -> list[JobDetails]:
        return [details.model_copy(update={"submission_id": name}) for name, details in self.known.items()]

    def submit_job(self, **given: Any) -> None:
        self.given.append(given)
        self.known[given["submission_id"]] = details("PENDING")


def look(records: Records, server: Server) -> list[str]:
    said: list[str] = []
    keeper.look(records, server, said.append)
    return said


def test_a_job_whose_head_died_is_submitted_again_and_only_once(records: Records, env_file: Path) -> None:
    with packed(ORDER, env_file) as package:
        records.keep_package(JOB, package.folder)
    records.write(BEGUN)
    server = Server()
    assert look(records, server) == [f"{JOB}: Ray knows it no more; attempt 2 is on its way"]
    assert look(records, server) == []
    (given,) = server.given
    assert given["submission_id"] == f"{JOB}.2"
    assert given["entrypoint"].endswith(f"-m tuner.jobs.drive {JOB} 2")
    assert given["runtime_env"]["working_dir"] == str(records.package(JOB))
    assert "four seven" not in str(given)
    assert (records.read(JOB).attempt, records.read(JOB).begun_s) == (2, None)


@pytest.mark.parametrize(
    ("record", "driver", "ending"),
    [
        (BEGUN, details("RUNNING"), None),
        (BEGUN, details("FAILED", 1), Ending.FAILED),
        (BEGUN, details("STOPPED"), Ending.STOPPED),
        (BEGUN.stopped(), None, Ending.STOPPED),
        (BEGUN.ended(Ending.FAILED, "why"), None, Ending.FAILED),
        (BEGUN.ended(Ending.FINISHED), None, Ending.FINISHED),
    ],
)
def test_what_runs_failed_by_itself_or_was_stopped_is_left_alone(
    records: Records, record: Record, driver: JobDetails | None, ending: Ending | None
) -> None:
    records.write(record)
    server = Server({} if driver is None else {JOB: driver})
    look(records, server)
    assert server.given == []
    assert records.read(JOB).ending is ending


def test_a_driver_that_is_killed_again_and_again_is_given_up(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [NOW_S]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    records.write(BEGUN)
    server = Server()
    submitted_at = []
    for _ in range(2000):
        record = records.read(JOB)
        if record.ending is not None:
            break
        if server.known.get(record.submission) is None or not server.known[record.submission].status.is_terminal():
            server.known[record.submission] = details("FAILED", -9, ended_s=clock[0])
            submitted_at.append(clock[0])
        look(records, server)
        clock[0] += 1
    record = records.read(JOB)
    assert record.ending is Ending.FAILED
    assert record.why is not None
    assert "killed 5 times, each within 10 min" in record.why
    assert record.attempt == 5
    waits = [later - before for before, later in itertools.pairwise(submitted_at)]
    assert waits == pytest.approx([5, 10, 20, 40], abs=2)


def test_one_that_lived_for_long_is_not_counted_with_those_before(records: Records) -> None:
    old = replace(BEGUN, begun_s=NOW_S, lost=4)
    records.write(old)
    look(records, Server({JOB: details("FAILED", -9, ended_s=NOW_S + keeper.SOON_S + 1)}))
    assert (records.read(JOB).ending, records.read(JOB).lost) == (None, 1)


def test_a_second_keeper_is_refused(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(BaseException):
        pass

    def second(_: float) -> None:
        with pytest.raises(InputError, match="another keeper looks after these jobs"):
            keeper.keep(records, "http://127.0.0.1:1", lambda _: None, once=True)
        raise Stop

    said: list[str] = []
    monkeypatch.setattr(time, "sleep", second)
    with pytest.raises(Stop):
        keeper.keep(records, "http://127.0.0.1:1", said.append)
    assert said == [
        "http://127.0.0.1:1: no Ray job server answers there; give --address, or open a tunnel to the head's port 8265"
    ]


def fails() -> str | None:
    raise InputError("no such dataset; give another")


def breaks() -> str | None:
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize(
    ("does", "wanted", "code", "ending", "why"),
    [
        (lambda: None, True, 0, Ending.FINISHED, None),
        (lambda: "interrupted", False, 0, Ending.STOPPED, None),
        (lambda: "interrupted", True, 143, None, None),  # the machine is going down: another attempt may follow
        (fails, True, 1, Ending.FAILED, "no such dataset; give another"),
        (breaks, True, 1, Ending.FAILED, "ZeroDivisionError: by nothing"),
        (fails, False, 1, Ending.STOPPED, "no such dataset; give another"),
    ],
)
def test_a_driver_writes_down_how_its_job_ended(
    records: Records,
    monkeypatch: pytest.MonkeyPatch,
    does: Callable[[], str | None],
    wanted: bool,
    code: int,
    ending: Ending | None,
    why: str | None,
) -> None:
    def run(_: Any) -> str | None:
        if not wanted:
            records.write(records.read(JOB).stopped())
        return does()

    assert drive_attempt(records, monkeypatch, run) == code
    record = records.read(JOB)
    assert (record.ending, record.why) == (ending, why)
    assert record.begun_s is not None


def drive_attempt(records: Records, monkeypatch: pytest.MonkeyPatch, run: Callable[[Any], str | None]) -> int:
    monkeypatch.setenv("SPIKETUNE_SHARED", str(records.shared))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(drive, "kind_of", lambda _: SimpleNamespace(run=run))
    if not records.knows(JOB):
        with packed(ORDER, None) as package:
            records.keep_package(JOB, package.folder)
        records.write(SENT)
    monkeypatch.chdir(records.package(JOB))
    return drive.main(JOB, 1)


def test_a_driver_that_another_has_replaced_does_nothing(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    with packed(ORDER, None) as package:
        records.keep_package(JOB, package.folder)
    records.write(SENT.again(lost=0))
    assert drive_attempt(records, monkeypatch, lambda _: pytest.fail("has run")) == 0
    assert records.read(JOB).begun_s is None


def test_a_driver_that_was_replaced_meanwhile_leaves_the_record_alone(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: Any) -> None:
        records.write(records.read(JOB).again(lost=0))

    assert drive_attempt(records, monkeypatch, run) == 0
    assert (records.read(JOB).attempt, records.read(JOB).ending) == (2, None)


def test_a_driver_whose_head_has_died_has_not_failed_by_itself(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: Any) -> None:
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # nobody is there
        raise RuntimeError("lost the connection")

    assert drive_attempt(records, monkeypatch, run) == 137
    assert records.read(JOB).ending is None


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """What a command prints, of a cluster with one job that has failed and one that is lost."""
    monkeypatch.chdir(tmp_path)
    failed = Job(BEGUN.ended(Ending.FAILED, "every trial failed"), Fate.FAILED)
    lost = Job(replace(BEGUN, job="day-0123456789", name="day", attempt=2), Fate.LOST)
    monkeypatch.setattr(Client, "jobs", lambda _: [failed, lost])
    told = Told({"best": 1}, "trials  3 of 3 begun\n")
    monkeypatch.setattr(Client, "status", lambda *_: JobStatus(lost, told, None))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_jobs_are_listed_with_what_became_of_them(shown: Callable[..., str]) -> None:
    text = shown("jobs")
    assert re.search(r"night-0123456789 +│ search +│ failed .*every trial failed", text)
    assert re.search(r"day-0123456789 +│ search +│ lost .* 2 │", text)
    listed = json.loads(shown("jobs", "--json"))["jobs"]
    assert [(job["job"], job["state"]) for job in listed] == [(JOB, "failed"), ("day-0123456789", "lost")]


@pytest.mark.parametrize("arguments", [("day-0123456789",), ("anything", "--address", "http://h:1")])
def test_the_status_of_what_is_a_job_is_asked_of_the_cluster(shown: Callable[..., str], arguments: Any) -> None:
    first, second = shown("status", *arguments).splitlines()
    assert first.startswith("day-0123456789: lost, attempt 2, its driver is gone; the head's keeper submits it again")
    assert second == "trials  3 of 3 begun"
    assert json.loads(shown("status", *arguments, "--json"))["work"] == {"best": 1}
