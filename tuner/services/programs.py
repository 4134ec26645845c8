"""The programs that supervisord runs, and the file that tells it of them."""

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tuner.jobs.environment import SHARED
from tuner.server import ENVIRONMENT
from tuner.services import postgres
from tuner.services.settings import LOOPBACK, Settings
from tuner.services.state import State, write_private

POSTGRES, MLFLOW, KEEPER = "postgres", "mlflow", "keeper"


@dataclass(frozen=True)
class Program:
    """What supervisord is told of one."""

    name: str
    command: list[str]
    folder: Path
    stop_signal: str = "TERM"
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def programs(state: State, settings: Settings) -> list[Program]:
    """In the order in which they are started; they are ended the other way round."""
    server = postgres.server_command(state, settings, postgres.binaries(state))
    # INT: end at once, but in order. TERM would wait for its clients.
    found = [Program(POSTGRES, server, state.database, "INT", postgres.runs_as())]
    found.append(
        Program(MLFLOW, _mlflow_command(settings), state.mlflow, environment=_mlflow_environment(state, settings))
    )
    if settings.keep_jobs:
        command = [str(Path(sys.executable).with_name("spiketune")), "keep-jobs"]
        found.append(Program(KEEPER, _sole(command), state.folder, environment={SHARED: settings.shared}))
    return found


def _sole(command: list[str]) -> list[str]:
    return [sys.executable, "-P", "-m", "tuner.services.sole", *command]


def _mlflow_command(settings: Settings) -> list[str]:
    here = [f"{settings.host}:{settings.mlflow_port}"]
    tunnels = [f"{name}{port}" for name in ("localhost", LOOPBACK) for port in ("", ":*")]
    return _sole([
        sys.executable, "-m", "mlflow", "server", "--host", settings.address, "--port", str(settings.mlflow_port),
        "--workers", str(settings.workers), "--uvicorn-opts", "--log-level warning", "--app-name", "basic-auth",
        "--serve-artifacts", "--artifacts-destination", settings.artifacts,
        "--allowed-hosts", ",".join(here + tunnels), "--cors-allowed-origins", settings.tracking_uri,
    ])  # fmt: skip


def _database_url(state: State, settings: Settings, database: str) -> str:
    password = state.secret("mlflow")
    return f"postgresql+psycopg://{postgres.MLFLOW}:{password}@{LOOPBACK}:{settings.database_port}/{database}"


def _mlflow_environment(state: State, settings: Settings) -> dict[str, str]:
    """The passwords are here and in a file, for command lines are for all to read."""
    accounts = state.mlflow / "accounts.ini"
    write_private(
        accounts,
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = {_database_url(state, settings, postgres.MLFLOW_USERS)}\n"
        "admin_username = admin\n"
        f"admin_password = {state.secret('mlflow-admin')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n",  # else every request costs a slow hash
    )
    return {
        **ENVIRONMENT,
        "MLFLOW_BACKEND_STORE_URI": _database_url(state, settings, postgres.MLFLOW),
        "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": state.secret("mlflow-pages"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONSAFEPATH": "1",
    }


def write_configuration(state: State, settings: Settings) -> list[str]:
    """Write supervisord's file; the names of its programs, in the order to start them."""
    found = programs(state, settings)
    sections = [_supervisor(state), *(_section(state, program, place) for place, program in enumerate(found, start=1))]
    write_private(state.configuration, "\n".join(sections))
    return [program.name for program in found]


def _supervisor(state: State) -> str:
    user = "user=root\n" if os.geteuid() == 0 else ""  # else it warns that it is
    return (
        f"[unix_http_server]\nfile={state.socket}\nchmod=0700\n\n"
        f"[supervisord]\n{user}directory={state.folder}\npidfile={state.folder}/supervisord.pid\numask=077\n"
        f"logfile={state.logs}/supervisord.log\nlogfile_maxbytes=10MB\nlogfile_backups=3\n\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    )


def _section(state: State, program: Program, place: int) -> str:
    environment = ",".join(f'{name}="{value}"' for name, value in program.environment.items())
    lines = {
        "command": shlex.join(program.command),
        "directory": str(program.folder),
        "environment": environment,
        "user": program.user,
        "priority": str(place),
        "autostart": "false",  # one after the other, when what it needs is there
        "autorestart": "true",
        "startsecs": "2",
        "startretries": "1000",  # with ever longer waits
        "stopsignal": program.stop_signal,
        "stopwaitsecs": "60",
        "stopasgroup": "false" if program.name == POSTGRES else "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": f"{state.logs}/{program.name}.log",
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "3",
    }
    told = [f"{name}={value.replace('%', '%%')}\n" for name, value in lines.items() if value]
    return f"[program:{program.name}]\n{''.join(told)}"
