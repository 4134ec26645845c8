"""Starts the gathering of facts, and ends it when its time is over."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tuner.doctor.facts import ClusterFacts, Questions

_WITHOUT_TOKEN = ("Unauthenticated", "InvalidAuthToken", "AuthenticationError", "Authentication required")


def cluster_facts(questions: Questions, patience_s: float) -> ClusterFacts:
    """What the nodes say, or why there is no cluster to ask.

    Args:
        questions: to ask.
        patience_s: for all together.
    """
    with tempfile.TemporaryDirectory(prefix="spiketune-doctor-") as name:
        folder = Path(name)
        (folder / "questions").write_text(questions.model_dump_json())
        # -P and the folder: Ray would have the nodes import from where the driver stands.
        command = [sys.executable, "-P", "-m", "tuner.doctor.gather", str(folder / "questions"), str(folder / "facts")]
        with (folder / "said").open("wb") as said:
            child = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
                command, cwd=folder, stdout=said, stderr=said, start_new_session=True,
                env={**os.environ, "RAY_DEDUP_LOGS": "0", "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
            late = _wait(child, patience_s)
        said_text = (folder / "said").read_text(errors="replace")
        if (folder / "facts").exists():
            return _explained(ClusterFacts.model_validate_json((folder / "facts").read_text()), said_text)
    if late:
        return _explained(ClusterFacts(wrong=f"no answer in {patience_s:.0f} s"), said_text)
    return ClusterFacts(wrong=(said_text.strip().splitlines() or ["the examination ended without a word"])[-1])


def _wait(child: "subprocess.Popen[bytes]", patience_s: float) -> bool:
    """Whether it had to be ended."""
    try:
        child.wait(patience_s)
    except subprocess.TimeoutExpired:
        return True
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return False


def _explained(facts: ClusterFacts, said: str) -> ClusterFacts:
    """Ray tells only its log that it was the token."""
    if facts.wrong and any(word in said + facts.wrong for word in _WITHOUT_TOKEN):
        return ClusterFacts(wrong="it asks for a token, and ours is missing or another one")
    return facts
