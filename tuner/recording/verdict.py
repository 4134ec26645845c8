"""What an error of MLflow means for the record that met it: wait, give up on it, or stop altogether."""

import re
from enum import Enum, auto
from importlib.util import find_spec
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException, RetryError, Timeout
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Refused(Exception):  # noqa: N818 - the name of what became of it
    """The record can never be written."""


class Barred(Exception):  # noqa: N818 - the name of what became of the store
    """No record can be written until somebody mends something."""


class Verdict(Enum):
    """What to do after an error."""

    AWAY = auto()  # the store cannot be reached or is busy: try again for as long as it takes
    DOUBTFUL = auto()  # the store or the record: try again; if the store is well meanwhile, it is the record
    REFUSED = auto()  # this record will never be taken
    BARRED = auto()  # nothing will be taken until somebody mends something


# Names of MLflow's error codes; through the REST API and from the database's client they are the same.
_AWAY = {"TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}
_BARRED = {"PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED"}
# A bug of the server is INTERNAL_ERROR as well as a connection that failed, or a proxy's answer; BAD_REQUEST is what a
# lost connection to the database may look like; a proxy without a server behind it may know no such endpoint.
# Several drivers may make the experiment at the same moment.
_DOUBTFUL = {"INTERNAL_ERROR", "BAD_REQUEST", "ENDPOINT_NOT_FOUND", "ABORTED", "DATA_LOSS", "RESOURCE_ALREADY_EXISTS"}


def expected() -> tuple[type[Exception], ...]:
    """The errors that writing to MLflow may raise: its own, the database's, the network's and the artifact store's."""
    known: tuple[type[Exception], ...] = (Refused, Barred, MlflowException, SQLAlchemyError, OSError)
    if find_spec("boto3") is not None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        known += (Boto3Error, BotoCoreError, ClientError)
    return known


def judge(error: Exception) -> Verdict:
    """What an error means."""
    match error:
        case Refused():
            return Verdict.REFUSED
        case Barred():
            return Verdict.BARRED
        case MlflowException():
            # What the network says is only told as text, in an error that says nothing else.
            cause = error.__context__
            return _judge_request(cause) if isinstance(cause, RequestException) else _judge_code(str(error.error_code))
        case RequestException():
            return _judge_request(error)
        case OperationalError() | InterfaceError() | PoolTimeout():
            return Verdict.AWAY
        case SQLAlchemyError():
            return Verdict.REFUSED
        case _:
            return Verdict.DOUBTFUL  # a disk, or a bucket


def _judge_request(error: RequestException) -> Verdict:
    """A server that answers 500 may be ill, or the request is; all else is the way to it, or that it is busy."""
    return Verdict.DOUBTFUL if isinstance(error, RetryError) and "too many 500" in str(error) else Verdict.AWAY


def _judge_code(code: str) -> Verdict:
    if code in _AWAY:
        return Verdict.AWAY
    if code in _BARRED:
        return Verdict.BARRED
    return Verdict.DOUBTFUL if code in _DOUBTFUL else Verdict.REFUSED


def first_line(error: Exception) -> str:
    """What an error says, in a line of no more than 200 letters."""
    cause = error.__context__ if isinstance(error, MlflowException) else error
    if isinstance(cause, RequestException):
        return _of_request(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _of_request(error: RequestException) -> str:
    """In few words what `requests` tells in hundreds."""
    place = "the server" if error.request is None else urlsplit(str(error.request.url)).netloc
    match error:
        case Timeout():
            return f"{place} does not answer in time"
        case NoConnection():
            return f"{place} cannot be reached"
        case RetryError():
            code = re.search(r"too many (\d+) error", str(error))
            return f"{place} answers with error {code[1] if code else 'after error'}"
        case _:
            return f"{place}: {type(error).__name__}"
