"""The `spiketune` command as a user runs it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from tuner.cli import main; main()"]


def small_spec(name: str, trials: int, epochs: int) -> str:
    """A search of seconds."""
    return f"""
name: {name}
base:
  data: {{scale: 0.5, time_steps: 2}}
  training: {{windows_per_epoch: 8}}
space:
  loss.box: {{log_uniform: [2, 15]}}
objective: {{windows: 4}}
scheduler: {{grace: 1, reduction_factor: 2}}
budget: {{trials: {trials}, epochs: {epochs}}}
"""


def run(folder: Path, arguments: tuple[str, ...], **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with nothing of the caller's stores and clusters; it must succeed."""
    strange = ("MLFLOW_", "AWS_", "RAY_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(strange)} | extra
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done
