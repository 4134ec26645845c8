"""Those who may use the services: accounts in PostgreSQL and MLflow, an experiment, and a file that tells how."""

import re
from pathlib import Path

import requests

from data.errors import InputError, SpiketuneError
from tuner.jobs.environment import SHARED
from tuner.services.postgres import connect, provide
from tuner.services.settings import Settings
from tuner.services.state import State, write_private
from tuner.store import EXPERIMENT

CLIENT = "spiketune"  # the first user, whose file is client.env
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_TAKEN = {CLIENT, "admin", "mlflow", "postgres", "public", "root"}
_THERE = "RESOURCE_ALREADY_EXISTS"
_TIMEOUT_S = 60


def check_user_name(name: str) -> None:
    """Raise an InputError for a name that no user may have."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise InputError(
            f"add-user {name}: a name must begin with a small letter and have small letters, digits and - only, 31 at "
            f"most, and be none of {', '.join(sorted(_TAKEN))}"
        )


def provide_client(state: State, settings: Settings) -> Path:
    """The first user, with the experiment and the studies that a search uses unless it is told others; its file."""
    return _provide(state, settings, CLIENT, EXPERIMENT, "studies", state.client_env)


def add_user(state: State, settings: Settings, name: str) -> Path:
    """A user with an experiment and studies of its own, as far as it is not there yet; its file.

    It reads all runs, and writes those below its own experiment. The studies of others it cannot enter.

    Raises:
        InputError: the name would not do.
        SpiketuneError: the services do not answer.
    """
    check_user_name(name)
    return _provide(state, settings, name, f"{EXPERIMENT}-{name}", f"studies-{name}", state.user_env(name))


def _provide(state: State, settings: Settings, name: str, experiment: str, studies: str, file: Path) -> Path:
    import psycopg

    password = state.secret(f"user-{name}")
    try:
        with connect(state, settings) as connection:
            provide(connection, name, password, (studies,))
    except psycopg.Error as error:
        raise SpiketuneError(f"PostgreSQL: {str(error).strip()}; look at `spiketune services status`") from None
    admin = ("admin", state.secret("mlflow-admin"))
    _post(settings, "users/create", admin, {"username": name, "password": password})
    _post(settings, "experiments/create", (name, password), {"name": experiment})  # whoever makes it manages it
    lines = {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_TRACKING_USERNAME": name,
        "MLFLOW_TRACKING_PASSWORD": password,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "SPIKETUNE_STUDY_URL": f"postgresql+psycopg://{name}:{password}@{settings.host}:{settings.database_port}/{studies}",
        SHARED: settings.shared,
    }
    write_private(file, "".join(f"{key}={value}\n" for key, value in lines.items()))
    return file


def _post(settings: Settings, what: str, who: tuple[str, str], content: dict[str, str]) -> None:
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between, and no netrc knows better
        try:
            answer = session.post(
                f"{settings.tracking_uri}/api/2.0/mlflow/{what}", json=content, auth=who, timeout=_TIMEOUT_S
            )
        except requests.RequestException as error:
            raise SpiketuneError(f"MLflow: {error}; look at `spiketune services status`") from None
    if not answer.ok and _THERE not in answer.text:
        raise SpiketuneError(f"MLflow: {what}: {answer.text.strip()}; look at `spiketune services status`")


def mlflow_answers(settings: Settings) -> bool:
    """Whether MLflow's server is there."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return bool(session.get(f"{settings.tracking_uri}/health", timeout=5).ok)
        except requests.RequestException:
            return False
