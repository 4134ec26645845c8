"""The database that keeps a study while a search writes it."""

import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from data.errors import DatasetError
from tuner.study.address import told_url

PATIENCE_S = 3600  # that a database may be away before the search gives up
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


def open_storage(url: str) -> BaseStorage:
    """Connect, and make the tables where there are none.

    Raises:
        DatasetError: the database does not answer, or is none.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if not url.startswith("sqlite"):
            # A connection that a restarted server has forgotten is found out before it is used.
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        storage = RDBStorage(url)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"{told_url(url)}: is no study that can be read: {reason}") from None
    event.listen(storage.engine, "connect", _durable_and_quick)
    storage.engine.dispose()
    return storage


def close_storage(storage: BaseStorage) -> None:
    """Let go of the database's connections."""
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


def _durable_and_quick(connection: Any, _: Any) -> None:
    """Write-ahead log, synced at checkpoints: what is committed survives kill -9, in a third of the time."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=60000")
    cursor.close()


def patiently(call: Callable[[], _Result], patience_s: float = PATIENCE_S) -> _Result:
    """The call's result, tried again for as long as the database is away; the call must bear being made twice.

    Raises:
        optuna.exceptions.StorageInternalError: the patience is spent.
        SQLAlchemyError: likewise.
    """
    until, pause = time.monotonic() + patience_s, 0.1
    while True:
        try:
            return call()
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            if time.monotonic() > until:
                raise
            _log.warning("the study's database does not answer, trying again in %.1f s: %s", pause, error)
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads the drivers' attempts
        pause = min(pause * 2, 15)
