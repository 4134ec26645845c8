"""PostgreSQL on the head: its programs, its data folder, and the accounts and databases in it."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError, SpiketuneError
from tuner.services.settings import LOOPBACK, Settings
from tuner.services.state import State

if TYPE_CHECKING:
    import psycopg

ADMIN = "spiketune_admin"
MLFLOW = "mlflow"  # MLflow's account, and the database of its runs
MLFLOW_USERS = "mlflow_users"  # the database of its accounts and permissions
_UNPRIVILEGED = "postgres"
_DEBIAN = Path("/usr/lib/postgresql")
# The two powerful accounts are used on the head alone.
_WHO_MAY_CONNECT = f"""\
host all {ADMIN},{MLFLOW} {LOOPBACK}/32 scram-sha-256
host all {ADMIN},{MLFLOW} all reject
host all all all scram-sha-256
"""


def runs_as() -> str | None:
    """The user PostgreSQL runs as; None: the present one, for it refuses only root.

    Raises:
        InputError: this is root, and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise InputError(
            f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED}; install PostgreSQL's package, "
            "or run the services as an ordinary user"
        ) from None
    return _UNPRIVILEGED


def group_of(user: str | None) -> int | None:
    """The first group of a user."""
    return None if user is None else pwd.getpwnam(user).pw_gid


def binaries(state: State) -> Path:
    """The folder of PostgreSQL's programs: the newest, or those of the version that has made the data.

    Raises:
        InputError: there are none that would do.
    """
    on_path = shutil.which("postgres")
    folders = [path.parent for path in _DEBIAN.glob("*/bin/postgres")]
    folders += [Path(on_path).resolve().parent] if on_path else []
    found = {major: folder for folder in folders if (major := _major(folder))}
    made_by = state.database / "PG_VERSION"
    wanted = made_by.read_text(encoding="ascii").strip() if made_by.exists() else None
    if wanted and wanted not in found:
        raise InputError(f"{state.database}: was made by PostgreSQL {wanted}, which is not here; install that version")
    if not found:
        raise InputError("PostgreSQL is not installed; install it, on Debian and Ubuntu with the package postgresql")
    return found[wanted or max(found, key=int)]


def _major(folder: Path) -> str | None:
    """The version of the programs of a folder, before its point; None where they are not all there."""
    if not (folder / "initdb").is_file():
        return None
    told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    words = told.stdout.split()
    return next((word.split(".")[0] for word in words if word[0].isdigit()), None)


def make_database(state: State, programs: Path, user: str | None) -> None:
    """Make PostgreSQL's data folder, unless it is there: as a whole, or not at all.

    Raises:
        InputError: the user PostgreSQL runs as cannot reach the folder.
        SpiketuneError: it cannot be made.
    """
    state.postgres.mkdir(exist_ok=True)
    state.postgres.chmod(0o700)
    if user is not None:
        shutil.chown(state.postgres, user, group_of(user))
    _check_reachable(state, user)
    if not state.database.exists():
        partial, password = state.postgres / ".data.partial", state.postgres / "password"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            password.touch(0o600)
            password.write_text(state.secret("postgres") + "\n", encoding="ascii")
            if user is not None:
                shutil.chown(password, user)
            options = ["-U", ADMIN, "--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--no-locale"]
            _run([str(programs / "initdb"), "-D", str(partial), *options], state, user)
        finally:
            password.unlink(missing_ok=True)
        partial.rename(state.database)
    (state.database / "pg_hba.conf").write_text(_WHO_MAY_CONNECT, encoding="ascii")


def _check_reachable(state: State, user: str | None) -> None:
    if user is None:
        return
    tried = subprocess.run(  # noqa: S603 - a fixed program, no shell
        ["/usr/bin/test", "-x", state.postgres], user=user, group=group_of(user), extra_groups=[], check=False
    )
    if tried.returncode != 0:
        raise InputError(
            f"--state {state.folder}: PostgreSQL runs as the user {user}, who cannot enter it; choose a folder below "
            "/var/lib, or one that all may pass through"
        )


def _run(command: list[str], state: State, user: str | None) -> None:
    done = subprocess.run(  # noqa: S603 - a program that was found, no shell
        command, user=user, group=group_of(user), extra_groups=None if user is None else [], cwd=state.postgres,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SpiketuneError(f"{Path(command[0]).name} failed: {done.stderr.strip()}; check the disk's room")


def server_command(state: State, settings: Settings, programs: Path) -> list[str]:
    """What runs the server: on loopback and the settings' address, without a socket of its own."""
    listen = ",".join(dict.fromkeys((LOOPBACK, settings.address)))
    told = {
        "listen_addresses": listen,
        "port": str(settings.database_port),
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": "200",
    }
    options = [word for name, value in told.items() for word in ("-c", f"{name}={value}")]
    return [str(programs / "postgres"), "-D", str(state.database), *options]


def connect(state: State, settings: Settings) -> "psycopg.Connection[tuple[object, ...]]":
    """As the administrator.

    Raises:
        psycopg.OperationalError: it does not answer, or does not know the password.
    """
    import psycopg

    return psycopg.connect(
        host=LOOPBACK, port=settings.database_port, user=ADMIN, password=state.secret("postgres"), dbname="postgres",
        autocommit=True, connect_timeout=5,
    )  # fmt: skip


def provide(
    connection: "psycopg.Connection[tuple[object, ...]]", account: str, password: str, databases: tuple[str, ...]
) -> None:
    """Make an account with databases that only it may enter, as far as they are not there yet.

    The server is told a password's verifier, never the password, which might end in its log.
    """
    from psycopg.sql import SQL, Identifier, Literal

    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (account,)).fetchone() is None:
        verifier = connection.pgconn.encrypt_password(password.encode(), account.encode(), b"scram-sha-256").decode()
        connection.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(account), Literal(verifier)))
    for name in databases:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            made, owner = Identifier(name), Identifier(account)
            connection.execute(SQL("CREATE DATABASE {} OWNER {}").format(made, owner))
        connection.execute(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(name)))
