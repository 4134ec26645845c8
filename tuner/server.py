"""MLflow's own server on loopback, over the store the searches write to."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

from data.errors import InputError, SpiketuneError
from tuner.loopback import HOST, answers, check_free, end, interrupted_by_any_end
from tuner.store import artifact_folder, experiment_name, tracking_uri

PORT = 5000
START_S = 90  # the first start makes the database
ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # judges of language models and the like
    "PYTHONWARNINGS": "ignore",  # MLflow's own, of what it uses
}


def serve(port: int, say: Callable[[str], None]) -> int:
    """Run the server until it is interrupted; return its exit code.

    Raises:
        InputError: the port is taken, or the runs are kept by a server already.
        SpiketuneError: the server did not start.
    """
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        raise InputError(f"MLFLOW_TRACKING_URI={uri} is a server already; open it in a browser")
    check_free(port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--uvicorn-opts", "--log-level warning"]  # not a line for each request
    artifacts = artifact_folder()
    if artifacts is not None:
        command += ["--default-artifact-root", artifacts.as_uri()]
    say(f"starting MLflow on {uri}")
    with interrupted_by_any_end():
        server = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            command, env={**os.environ, **ENVIRONMENT}, start_new_session=True
        )
        try:
            _wait_until_up(server, port)
            say(f"http://{HOST}:{port}/{searches_page(uri)}  (Ctrl-C ends it)")
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            end(server)


def searches_page(uri: str) -> str:
    """Where all searches are shown, behind the address; empty where none is recorded yet, which is MLflow's home."""
    from mlflow import MlflowClient

    from tuner.recording.views import SEARCHES, page

    known = MlflowClient(tracking_uri=uri).get_experiment_by_name(experiment_name())
    return "" if known is None else page(str(known.experiment_id), SEARCHES)


def _wait_until_up(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        if answers(port):
            return
        time.sleep(0.2)
    raise SpiketuneError("MLflow's server did not start; what it printed stands above")
