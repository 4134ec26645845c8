"""Where a search comes from: versions of what it runs on, and the commit it was started from."""

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("spiketune", "torch", "ray", "optuna", "mlflow", "spikingjelly")
_COMMIT = "mlflow.source.git.commit"  # the tag that MLflow's pages show


def provenance() -> dict[str, str]:
    """Tags: `version.NAME` of Python and the libraries that matter, and the commit of the working directory."""
    tags = {"version.python": platform.python_version()}
    for package in _PACKAGES:
        try:
            tags[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    commit = _commit()
    return tags | ({_COMMIT: commit} if commit else {})


def _commit() -> str | None:
    """The commit of the repository that the working directory lies in, if it is one."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        asked = subprocess.run(  # noqa: S603 - a fixed command, no shell
            [git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
