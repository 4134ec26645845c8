"""A job's env file: secrets and addresses that its driver and its workers are given, and nobody else is shown."""

import os
import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from data.errors import InputError

ENV_FILE = "job.env"
SHARED = "SPIKETUNE_SHARED"
HOOK = "tuner.jobs.environment.load"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PRIVATE = 0o600


def read_environment(file: Path) -> dict[str, str]:
    """The variables of a file with lines KEY=VALUE, quoted as in a shell; its mode must let in nobody but its owner.

    Raises:
        InputError: it cannot be read, others may read it, or a line is none. No value is ever told.
    """
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InputError(f"--env-file {file}: cannot be read ({reason}); give a file with lines KEY=VALUE") from None
    if mode & 0o077:
        raise InputError(f"--env-file {file}: others may read it (mode {mode:o}); chmod 600 {file}")
    return parse_environment(text, file)


def parse_environment(text: str, file: Path) -> dict[str, str]:
    """The variables of such a file's text.

    Raises:
        InputError: a line is no KEY=VALUE.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            (word,) = shlex.split(line)
            key, sign, value = word.partition("=")
        except ValueError:
            key, sign, value = "", "", ""
        if not sign or not _VARIABLE.fullmatch(key) or "\0" in value:
            raise InputError(f"--env-file {file}: line {number} is no KEY=VALUE; quote values with spaces or quotes")
        found[key] = value
    return found


def load() -> None:
    """Set the variables of the job whose working directory this process starts in; Ray calls it in every worker."""
    load_from(Path.cwd())


def load_from(folder: Path) -> None:
    """Set the variables of the job's env file in a folder, if it has one."""
    file = folder / ENV_FILE
    if file.is_file():
        os.environ.update(parse_environment(file.read_text(encoding="utf-8"), file))


def shared_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder that every node sees.

    Raises:
        InputError: SPIKETUNE_SHARED names none.
    """
    given = (os.environ if environment is None else environment).get(SHARED, "")
    folder = Path(given)
    if not given or not folder.is_absolute():
        raise InputError(
            f"{SHARED}={given}: must be the absolute path of a folder that every node sees; set it where Ray and the "
            "services are started, or in the job's --env-file"
        )
    if not folder.is_dir():
        raise InputError(f"{SHARED}={given}: is no folder on this node; mount it on every node, or name another")
    return folder
