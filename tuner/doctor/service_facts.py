"""Asks what is not Ray's: MLflow's server, the database of studies, and Ray's own job server without a token."""

import os
from urllib.parse import urlsplit

import requests

from tuner.doctor.facts import Answer, MlflowFacts, StudyFacts
from tuner.study.address import URL_VARIABLE, told_url

PATIENCE_S = 10.0
_TRACKING = "MLFLOW_TRACKING_URI"
_ASKED_OF_MLFLOW = "/api/2.0/mlflow/experiments/search?max_results=1"
_ASKED_OF_RAY = "/api/jobs/"
_TOLD = 200  # characters of an answer
_TABLE = "spiketune_doctor"
_WRONG_PASSWORD = "not-this-one"  # noqa: S105


def stranger_asks(url: str, patience_s: float = PATIENCE_S) -> Answer:
    """What a server answers to one who brings nothing, neither password nor token."""
    with requests.Session() as session:
        session.trust_env = False  # a ~/.netrc would bring a password
        return _answer(session, url, None, patience_s)


def _answer(session: requests.Session, url: str, password: tuple[str, str] | None, patience_s: float) -> Answer:
    try:
        got = session.get(url, auth=password, timeout=patience_s, allow_redirects=False)
    except requests.RequestException as error:
        return Answer(wrong=_reason(error))
    return Answer(status=got.status_code, says=got.text[:_TOLD].strip())


def _reason(error: Exception) -> str:
    """Without what libraries wrap around it."""
    inner = error.args[0] if error.args else error
    reason = getattr(inner, "reason", None) or inner
    return str(reason).rpartition(": ")[2].rstrip("'\"") or type(error).__name__


def dashboard_facts(place: str) -> Answer:
    """Ray's job server, asked by a stranger."""
    return stranger_asks(f"http://{place}{_ASKED_OF_RAY}")


def mlflow_facts() -> MlflowFacts | None:
    """MLflow's server as the environment names it, asked as we are and as a stranger; None where none is named."""
    uri = os.environ.get(_TRACKING)
    if not uri:
        return None
    if not uri.startswith(("http://", "https://")):
        return MlflowFacts(uri=told_url(uri))
    asked = uri.rstrip("/") + _ASKED_OF_MLFLOW
    from mlflow.utils.credentials import read_mlflow_creds  # of the environment, or ~/.mlflow/credentials

    ours = read_mlflow_creds()
    with requests.Session() as session:
        password = (ours.username, ours.password or "") if ours.username else None
        known = _answer(session, asked, password, PATIENCE_S)
    return MlflowFacts(uri=told_url(uri), known=known, stranger=stranger_asks(asked))


def study_facts() -> StudyFacts | None:
    """The database that the environment names; None where none is named."""
    url = os.environ.get(URL_VARIABLE)
    if not url:
        return None
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        return StudyFacts(place=URL_VARIABLE, wrong_connecting="is no address of a database")
    place = told_url(url)
    connecting, writing = _write_and_undo(url)
    strangers = False
    if not connecting and parsed.password is not None:
        wrong = parsed.set(password=_WRONG_PASSWORD).render_as_string(hide_password=False)
        strangers = not _write_and_undo(wrong)[0]
    return StudyFacts(place=place, wrong_connecting=connecting, wrong_writing=writing, lets_strangers_in=strangers)


def _write_and_undo(url: str) -> tuple[str, str]:
    """What goes wrong with connecting, and with making a table that nobody keeps."""
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    arguments = {} if url.startswith("sqlite") else {"connect_timeout": int(PATIENCE_S)}
    try:
        engine = sqlalchemy.create_engine(url, connect_args=arguments, poolclass=sqlalchemy.NullPool)
        connection = engine.connect()
    except (SQLAlchemyError, ImportError) as error:
        return _first_line(error), ""
    with connection:
        try:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python begins none before a table is made
            connection.execute(sqlalchemy.text(f"CREATE TABLE {_TABLE} (number INTEGER)"))
            connection.execute(sqlalchemy.text(f"INSERT INTO {_TABLE} VALUES (1)"))  # noqa: S608 - a fixed name
        except SQLAlchemyError as error:
            return "", _first_line(error)
        finally:
            connection.rollback()
    return "", ""


def _first_line(error: Exception) -> str:
    """What the database says, which tells no password."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    return said[0] if said else type(error).__name__


def port_of(url: str, usual: int) -> int:
    """That a URL names, or the usual one."""
    try:
        return urlsplit(url).port or usual
    except ValueError:
        return usual
