"""The services started, stopped and asked how they are."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass

from filelock import FileLock

from data.errors import InputError, SpiketuneError
from tuner.services import postgres
from tuner.services.accounts import mlflow_answers, provide_client
from tuner.services.programs import KEEPER, MLFLOW, POSTGRES, write_configuration
from tuner.services.remains import end_postgres
from tuner.services.settings import LOOPBACK, Settings, check_free, read_settings, save_settings
from tuner.services.state import State
from tuner.services.supervision import Supervisor

PATIENCE_S = 600  # MLflow's first start makes its database, on a busy machine in minutes
_HOPELESS = {"FATAL", "EXITED", "STOPPED", "UNKNOWN"}
_NEEDED = ("supervisor", "psycopg", "flask_wtf")


@dataclass(frozen=True)
class ProgramStatus:
    """How one program is."""

    name: str
    state: str  # in supervisord's words
    answers: bool | None  # None: nobody can ask it
    where: str
    running_s: int | None


def start(state: State, settings: Settings, say: Callable[[str], None]) -> list[ProgramStatus]:
    """Start what does not run yet, with the data that is there; and make the first user, with its file.

    Raises:
        InputError: a package, PostgreSQL, or a free port is missing.
        SpiketuneError: a service did not start.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"the services need more packages ({', '.join(missing)}); run `./environment.sh cluster`")
    user = postgres.runs_as()
    state.make(postgres.group_of(user))
    with FileLock(state.folder / "start.lock"):
        programs = postgres.binaries(state)
        supervisor = Supervisor(state)
        if not supervisor.runs():
            supervisor.end()  # what is left of one that was killed
            end_postgres(state)
            check_free("--database-port", LOOPBACK, settings.database_port)
            check_free("--database-port", settings.address, settings.database_port)
            check_free("--mlflow-port", settings.address, settings.mlflow_port)
            postgres.make_database(state, programs, user)
        save_settings(state, settings)
        names = write_configuration(state, settings)
        if supervisor.runs():
            supervisor.follow_configuration()
        else:
            supervisor.launch()
        for name in names:
            if supervisor.states()[name]["statename"] != "RUNNING":
                say(f"starting {name}")
                supervisor.start(name)
            _prepared(name, state, settings, supervisor)
    return status(state)


def _prepared(name: str, state: State, settings: Settings, supervisor: Supervisor) -> None:
    """Wait for a program, and make in it what the next one needs."""
    if name == POSTGRES:
        _await(name, lambda: _postgres_answers(state, settings), state, supervisor)
        with postgres.connect(state, settings) as connection:
            databases = (postgres.MLFLOW, postgres.MLFLOW_USERS)
            postgres.provide(connection, postgres.MLFLOW, state.secret("mlflow"), databases)
    elif name == MLFLOW:
        _await(name, lambda: mlflow_answers(settings), state, supervisor)
        provide_client(state, settings)


def _await(name: str, answers: Callable[[], bool], state: State, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not answers():
        found = supervisor.states().get(name, {}).get("statename", "UNKNOWN")
        if found in _HOPELESS or time.monotonic() > deadline:
            raise SpiketuneError(f"{name} did not start ({found}); what it said stands in {state.logs / name}.log")
        time.sleep(0.3)


def _postgres_answers(state: State, settings: Settings) -> bool:
    import psycopg

    try:
        postgres.connect(state, settings).close()
    except psycopg.OperationalError:
        return False
    return True


def stop(state: State) -> None:
    """End all of them; what they keep stays."""
    Supervisor(state).end()
    end_postgres(state)


def status(state: State) -> list[ProgramStatus]:
    """How each program is.

    Raises:
        InputError: none was ever started here.
    """
    settings = read_settings(state)
    known = Supervisor(state).states()
    asked: dict[str, tuple[str, Callable[[], bool] | None]] = {
        POSTGRES: (f"{settings.host}:{settings.database_port}", lambda: _postgres_answers(state, settings)),
        MLFLOW: (settings.tracking_uri, lambda: mlflow_answers(settings)),
        **({KEEPER: ("", None)} if settings.keep_jobs else {}),
    }
    return [_status(name, known.get(name), where, ask) for name, (where, ask) in asked.items()]


def _status(name: str, known: dict[str, object] | None, where: str, ask: Callable[[], bool] | None) -> ProgramStatus:
    state = str(known["statename"]) if known else "STOPPED"
    since = int(str(known["now"])) - int(str(known["start"])) if known and state == "RUNNING" else None
    return ProgramStatus(name, state, ask() if ask and state != "STOPPED" else None, where, since)
