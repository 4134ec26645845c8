"""What the answers of MLflow, the database and Ray's job server mean."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from tuner.doctor.facts import Answer, MlflowFacts, NodeFacts, StudyFacts
from tuner.doctor.verdict import Level, Verdict

OK, UNAUTHORIZED, FORBIDDEN = 200, 401, 403
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def mlflow(facts: MlflowFacts | None, on_cluster: bool) -> Iterator[Verdict]:
    """Whether the record of searches can be kept, and by whom."""
    if facts is None or facts.known is None:
        place = "runs/mlflow.db" if facts is None else facts.uri
        yield _none_named("MLflow", f"MLFLOW_TRACKING_URI names no server; runs are recorded in {place}", on_cluster)
        return
    yield _known(facts.uri, facts.known)
    if facts.stranger is not None and facts.stranger.status is not None:
        yield _stranger(facts.uri, facts.stranger)


def _none_named(name: str, told: str, on_cluster: bool) -> Verdict:
    """What one machine does without, a cluster should have."""
    if on_cluster:
        return Verdict(name, Level.WARN, told, "load the client.env that `spiketune services start` wrote (--env-file)")
    return Verdict(name, Level.PASS, told)


def _known(uri: str, answer: Answer) -> Verdict:
    match answer.status:
        case 200:
            return Verdict("MLflow", Level.PASS, f"{uri} answers to our name and password")
        case None:
            remedy = "`spiketune services status` on the head tells whether it runs; check MLFLOW_TRACKING_URI"
            return Verdict("MLflow", Level.FAIL, f"{uri} does not answer: {answer.wrong}", remedy)
        case 401:
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD as in your env file"
            return Verdict("MLflow", Level.FAIL, f"{uri} refuses our name and password (401)", remedy)
        case 403:
            remedy = "give its server this address with --allowed-hosts"
            return Verdict("MLflow", Level.FAIL, f"{uri} refuses to serve under this address: {answer.says}", remedy)
        case status:
            remedy = "read its log on the head"
            return Verdict("MLflow", Level.FAIL, f"{uri} answers {status}: {answer.says}", remedy)


def _stranger(uri: str, answer: Answer) -> Verdict:
    name = "MLflow's door"
    if answer.status == UNAUTHORIZED:
        return Verdict(name, Level.PASS, f"{uri} refuses who has no password")
    if answer.status == OK:
        level = Level.WARN if urlsplit(uri).hostname in _LOOPBACK else Level.FAIL
        remedy = "run it with --app-name basic-auth, as `spiketune services start` does"
        return Verdict(name, level, f"{uri} lets in who has no password", remedy)
    return Verdict(name, Level.WARN, f"{uri} answers {answer.status} to who has no password", "read its log")


def study(facts: StudyFacts | None, on_cluster: bool) -> Iterator[Verdict]:
    """Whether studies can be kept in the database."""
    if facts is None:
        told = "SPIKETUNE_STUDY_URL names none; a study is kept as SQLite in its search's folder"
        yield _none_named("database", told, on_cluster)
        return
    if facts.wrong_connecting:
        remedy = "check SPIKETUNE_STUDY_URL, its password, and `spiketune services status` on the head"
        yield Verdict("database", Level.FAIL, f"{facts.place}: {facts.wrong_connecting}", remedy)
        return
    if facts.wrong_writing:
        remedy = "let this user make tables in the database, and look whether it is read-only or full"
        yield Verdict("database", Level.FAIL, f"{facts.place} cannot be written: {facts.wrong_writing}", remedy)
    else:
        yield Verdict("database", Level.PASS, f"{facts.place} answers, and can be written")
    if facts.lets_strangers_in:
        remedy = "have its pg_hba.conf ask for scram-sha-256 in place of trust"
        yield Verdict("database's door", Level.FAIL, f"{facts.place} takes any password", remedy)


def token(nodes: Sequence[NodeFacts]) -> Iterator[Verdict]:
    """Whether Ray asks for its token on every node."""
    known = [node for node in nodes if not node.silent]
    without = [node for node in known if node.auth_mode != "token"]
    for node in without:
        told = f"RAY_AUTH_MODE is {node.auth_mode or 'not set'} where Ray runs: who reaches it can run anything"
        yield Verdict("token", Level.FAIL, told, "start Ray with RAY_AUTH_MODE=token on every node", (node.node,))
    if known and not without:
        yield Verdict("token", Level.PASS, "Ray runs with RAY_AUTH_MODE=token")


def dashboard(place: str | None, answer: Answer | None) -> Iterator[Verdict]:
    """Whether Ray's job server refuses who has no token."""
    if place is None or answer is None:
        told = "Ray runs without dashboard and job server"
        remedy = "install the project with `./environment.sh cluster` and start Ray again, to submit searches"
        yield Verdict("job server", Level.WARN, told, remedy)
    elif answer.status in (UNAUTHORIZED, FORBIDDEN):
        yield Verdict("job server", Level.PASS, f"http://{place} refuses who has no token")
    elif answer.status is None:
        remedy = "run the doctor on the head, whose loopback it is bound to; `spiketune ui --cluster` leads there"
        yield Verdict("job server", Level.WARN, f"http://{place} cannot be asked from here: {answer.wrong}", remedy)
    else:
        told = f"http://{place} answers {answer.status} to who has no token: who reaches it can run anything"
        yield Verdict("job server", Level.FAIL, told, "start Ray with RAY_AUTH_MODE=token on every node")
