"""Asking a cluster: a short job of Ray, whose last line is the answer."""

import json
import os
import secrets
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from tuner.jobs.environment import SHARED
from tuner.jobs.package import code_packed
from tuner.jobs.ray_jobs import ClusterError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_PREFIX = "spiketune-ask-"
_LOOK_S = 0.1
_PATIENCE_S = 120.0
_TOLD = 5  # last lines of a desk that says nothing


def ask(client: "JobSubmissionClient", verb: str, package: Path | None = None, **given: Any) -> dict[str, Any]:
    """The cluster's answer.

    Args:
        client: of its job server.
        verb: one of tuner.jobs.desk's.
        package: a working directory to ask from; the code alone if not given.
        given: further arguments, as JSON has them.

    Raises:
        InputError: what the desk found wrong.
        ClusterError: there is no answer.
    """
    if package is None:
        with code_packed() as folder:
            return ask(client, verb, folder, **given)
    # Where the head's environment does not name the shared folder, ours may.
    variables = {SHARED: os.environ[SHARED]} if os.environ.get(SHARED) else {}
    question = _PREFIX + secrets.token_hex(6)
    client.submit_job(
        entrypoint=f"exec python -m tuner.jobs.desk {shlex.quote(json.dumps({'verb': verb, **given}))}",
        submission_id=question,
        runtime_env={"working_dir": str(package), "env_vars": variables},
    )
    return _answer(_wait(client, question))


def is_question(submission: str) -> bool:
    """Whether this is no job, but somebody who asks."""
    return submission.startswith(_PREFIX)


def _wait(client: "JobSubmissionClient", question: str) -> str:
    """What the desk printed; the question is forgotten."""
    until = time.monotonic() + _PATIENCE_S
    try:
        while not client.get_job_status(question).is_terminal():
            if time.monotonic() > until:
                client.stop_job(question)
                raise ClusterError(f"the cluster's head gives no answer in {_PATIENCE_S:.0f} s; look at `ray status`")
            time.sleep(_LOOK_S)
        return str(client.get_job_logs(question))
    finally:
        if client.get_job_status(question).is_terminal():
            client.delete_job(question)


def _answer(printed: str) -> dict[str, Any]:
    from tuner.jobs.desk import MARK

    found = [line for line in printed.splitlines() if line.startswith(MARK)]
    if not found:
        last = "\n".join(printed.strip().splitlines()[-_TOLD:])
        raise ClusterError(f"the cluster's head has not answered; look at its last words: {last}")
    answer: dict[str, Any] = json.loads(found[-1].removeprefix(MARK))
    if "wrong" in answer:
        raise InputError(answer["wrong"])
    if "failed" in answer:
        raise ClusterError(f"the cluster's head failed: {answer['failed']}")
    return answer
