"""Whether a cluster can be ruled from here: ssh, rsync, and a head that lets us in."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.doctor.verdict import Level, Verdict
from tuner.head import CONNECT_S, Head

# What the cluster files of this project leave on every machine; harmless where it is missing.
_THERE = "[ ! -f ~/spiketune.env ] || . ~/spiketune.env; export PATH=$HOME/spiketune/.venv/bin:$PATH; "


def programs(needed: bool) -> Iterator[Verdict]:
    """Whether ssh and rsync are here; `needed`: a cluster is ruled from here."""
    missing = [name for name in ("ssh", "rsync") if shutil.which(name) is None]
    if missing:
        level = Level.FAIL if needed else Level.WARN
        remedy = "install them (Debian's packages are openssh-client and rsync); `ray up` needs both"
        yield Verdict("ssh and rsync", level, f"{' and '.join(missing)} cannot be found here", remedy)
    else:
        yield Verdict("ssh and rsync", Level.PASS, "both are here")


def head_answers(head: Head) -> Verdict:
    """Whether the head lets us in with the key."""
    name, where = "head", f"{head.user}@{head.host}"
    remedy = "check provider.head_ip and auth of the cluster file, that the machine is up, and that port 22 is open"
    try:
        done = head.run("true", patience_s=2 * CONNECT_S)
    except subprocess.TimeoutExpired:
        return Verdict(name, Level.FAIL, f"{where} gives no answer in {2 * CONNECT_S} s", remedy)
    except OSError as error:
        return Verdict(name, Level.FAIL, f"ssh cannot be run ({error.strerror})", "install openssh-client")
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"ssh ended with {done.returncode}"])[-1]
        return Verdict(name, Level.FAIL, f"{where} does not let us in: {said}", remedy)
    return Verdict(name, Level.PASS, f"{where} lets us in by ssh")


def secrets_here(head: Head) -> Iterator[Verdict]:
    """Whether the key, and the token that `ray up` spreads, are for their owner alone."""
    token = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    for path in (head.key, Path(token).expanduser()):
        if path is not None and path.is_file():
            yield from private(path, path.stat().st_mode & 0o777)


def on_the_head(head: Head, options: Sequence[str], patience_s: float) -> list[Verdict]:
    """What the doctor says that is run on the head, with these options."""
    command = shlex.join(["spiketune", "doctor", "--address", "auto", "--json", *options])
    remedy = "run `spiketune doctor --address auto` there, with the project of this version installed in ~/spiketune"
    try:
        done = head.run(f"bash -lc {shlex.quote(_THERE + command)}", patience_s)
        return [Verdict.from_dict(told) for told in json.loads(done.stdout)["verdicts"]]
    except subprocess.TimeoutExpired:
        return [Verdict("doctor there", Level.FAIL, f"no answer from the head in {patience_s:.0f} s", remedy)]
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return [Verdict("doctor there", Level.FAIL, f"could not be run on the head: {said}", remedy)]


def private(file: Path, mode: int) -> Iterator[Verdict]:
    """Whether a file on this machine is for its owner alone."""
    if mode & 0o077:
        yield Verdict("secret files", Level.FAIL, f"others may read {file} (mode {mode:o})", f"chmod 600 {file}")
