"""What a record is made of: verdicts on errors of real clients, plots, provenance, and what a process takes."""

import mmap
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError, ProgrammingError
from typer.testing import CliRunner

from data.errors import SpiketuneError
from tuner import cli_sync
from tuner.recording import background
from tuner.recording.background import Settled
from tuner.recording.plots import best_so_far, write_plots
from tuner.recording.provenance import provenance
from tuner.recording.records import Batch, Close, Open, from_line, to_line
from tuner.recording.runs import connect
from tuner.recording.verdict import Refused, Verdict, first_line, judge
from tuner.system_metrics import SystemMeter

PNG = b"\x89PNG\r\n\x1a\n"


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that has one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def error_of(uri: str) -> Exception:
    with pytest.raises(MlflowException) as caught:
        connect(uri).get_run("0" * 32)
    error: Exception = caught.value
    return error


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (503, "TEMPORARILY_UNAVAILABLE", Verdict.AWAY),  # as a locked database is told
        (502, None, Verdict.AWAY),  # a proxy whose server is gone
        (504, None, Verdict.AWAY),
        (429, "REQUEST_LIMIT_EXCEEDED", Verdict.AWAY),
        (408, None, Verdict.AWAY),
        (500, "INTERNAL_ERROR", Verdict.DOUBTFUL),
        (500, None, Verdict.DOUBTFUL),
        (404, None, Verdict.DOUBTFUL),  # a proxy that knows no such place
        (404, "RESOURCE_DOES_NOT_EXIST", Verdict.REFUSED),
        (400, "INVALID_PARAMETER_VALUE", Verdict.REFUSED),
        (401, "UNAUTHENTICATED", Verdict.BARRED),
        (403, "PERMISSION_DENIED", Verdict.BARRED),
    ],
)
def test_a_servers_answer_is_judged(status: int, code: str | None, verdict: Verdict) -> None:
    body = "<html>no</html>" if code is None else f'{{"error_code": "{code}", "message": "no"}}'
    with answering(status, body) as uri:
        assert judge(error_of(uri)) is verdict


def test_a_server_that_is_not_there_is_away() -> None:
    with answering(200, "{}") as uri:
        pass
    error = error_of(uri)
    assert judge(error) is Verdict.AWAY
    assert first_line(error) == f"{uri.removeprefix('http://')} cannot be reached"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (OperationalError("INSERT", {}, Exception("database is locked")), Verdict.AWAY),
        (ProgrammingError("INSERT", {}, Exception("no such table")), Verdict.REFUSED),
        (Refused("no such file"), Verdict.REFUSED),
        (OSError("disk full"), Verdict.DOUBTFUL),
    ],
)
def test_an_error_without_a_server_is_judged(error: Exception, verdict: Verdict) -> None:
    assert judge(error) is verdict


def test_an_errors_first_line_is_never_empty() -> None:
    assert first_line(OSError("\n  here it is \nand more")) == "here it is"
    assert first_line(TimeoutError()) == "TimeoutError"


@settings(max_examples=40)
@given(
    st.dictionaries(st.text(max_size=9), st.floats(allow_nan=False), max_size=4),
    st.dictionaries(st.text(max_size=9), st.text(), max_size=4),
    st.integers(0, 2**62),
)
def test_a_line_of_the_spool_is_the_record_again(metrics: dict[str, float], tags: dict[str, str], at: int) -> None:
    batch, close = Batch("s", 3, at, 1, epoch=True, metrics=metrics, tags=tags), Close("s", 0, at, "KILLED", "stopped")
    for record in (batch, Open("s", -1, at, "n", None, tags), close):
        line = to_line(record)
        assert line.count(b"\n") == 1
        assert from_line(line) == record
        assert from_line(line[: len(line) // 2]) is None


def test_the_best_so_far_only_rises_or_only_falls() -> None:
    curves = {2: {1: 0.3}, 0: {1: 0.25, 2: 0.5, 3: 0.4}, 1: {1: 0.7}}
    assert best_so_far(curves, maximise=True) == [0.5, 0.7, 0.7]
    assert best_so_far(curves, maximise=False) == [0.25, 0.25, 0.25]


@pytest.mark.parametrize("curves", [{}, {0: {1: 0.5}}, {0: {1: 0.1, 2: 0.3}, 4: {1: float("nan")}, 7: {1: 0.2}}])
def test_plots_are_drawn_of_any_search(curves: dict[int, dict[int, float]], tmp_path: Path) -> None:
    paths = write_plots(tmp_path, curves, "map", maximise=True)
    assert [path.name for path in paths] == ["optimisation_history.png", "learning_curves.png"]
    assert all(path.read_bytes().startswith(PNG) for path in paths)


def test_the_commit_is_that_of_the_working_directory_if_it_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "mlflow.source.git.commit" not in provenance()
    as_someone = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *as_someone, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    log = subprocess.run(["git", "log", "--format=%H"], check=True, capture_output=True, text=True)
    assert provenance()["mlflow.source.git.commit"] == log.stdout.strip()


def test_versions_are_tags() -> None:
    tags = provenance()
    wanted = ("python", "spiketune", "torch", "ray", "optuna", "mlflow", "spikingjelly")
    assert all(re.match(r"\d+\.\d+", tags[f"version.{name}"]) for name in wanted)


def test_a_sample_tells_a_busy_process_from_an_idle_one() -> None:
    meter = SystemMeter()
    shares = []
    for busy in (False, True):
        began = time.perf_counter(), time.process_time()
        if busy:
            while time.process_time() - began[1] < 0.2:
                sum(range(10_000))
        else:
            time.sleep(0.2)
        shares.append(100 * (time.process_time() - began[1]) / (time.perf_counter() - began[0]))
        assert meter.sample()["system_cpu_percent"] == pytest.approx(shares[-1], abs=15)  # clocks tick in 10 ms
    assert shares[1] > 2 * shares[0]


def test_memory_is_that_of_the_process() -> None:
    meter = SystemMeter()
    idle = meter.sample()
    with mmap.mmap(-1, 64 * 2**20) as ballast:  # pages of its own, wherever the process may have free ones
        ballast.write(b"\1" * len(ballast))
        busy = meter.sample()
    assert busy["system_memory_mib"] - idle["system_memory_mib"] > 32
    assert all(name.startswith("system_") for name in busy)


@pytest.mark.parametrize(("waiting", "fails"), [(0, False), (3, True)])
def test_sync_succeeds_when_nothing_waits_any_more(
    waiting: int, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, float]] = []

    def drain(folder: Path, timeout_s: float) -> Settled:
        asked.append((folder, timeout_s))
        return Settled("sqlite:///here", 5, waiting, ("3 records wait",) if waiting else ())

    monkeypatch.setattr(background, "drain", drain)
    app = typer.Typer()
    app.command()(cli_sync.sync)
    result = CliRunner().invoke(app, [str(tmp_path), "--wait", "7"])
    assert asked == [(tmp_path, 7.0)]
    assert result.stdout == "5 records written to sqlite:///here\n"
    assert isinstance(result.exception, SpiketuneError) == fails
