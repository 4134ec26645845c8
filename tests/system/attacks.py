"""What somebody tries who is in the network of a cluster: `python attacks.py NAME < ARGUMENTS` on a machine.

Arguments and outcome are JSON. Nothing is judged here.
"""

import base64
import http.client
import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_TIMEOUT_S = 15
# Ray has no Python stubs of this service, through which nodes send each other objects.
_OBJECT_MANAGER = [("ray.rpc.ObjectManagerService", name) for name in ("Push", "Pull", "FreeObjects")]


def ray_calls(places: list[str], bearer: str | None = None) -> dict[str, dict[str, str]]:
    """Call every method of every service of Ray at every place with an empty message; the answers' codes."""
    import grpc  # type: ignore[import-untyped]

    def call(place: str, service: str, method: str) -> str:
        with grpc.insecure_channel(place) as channel:
            ask = channel.unary_unary(f"/{service}/{method}")
            try:
                ask(b"", timeout=_TIMEOUT_S, metadata=[("authorization", f"Bearer {bearer}")] if bearer else [])
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

    found: dict[str, dict[str, str]] = {}
    with ThreadPoolExecutor(16) as pool:
        for place in places:
            methods = list(_methods())
            codes = pool.map(lambda one, place=place: call(place, *one), methods)
            found[place] = {f"{service}/{method}": code for (service, method), code in zip(methods, codes, strict=True)}
    return found


def _methods() -> Iterator[tuple[str, str]]:
    import ray.core.generated as generated

    for module in pkgutil.iter_modules(generated.__path__):
        if module.name.endswith("_pb2"):
            described = importlib.import_module(f"{generated.__name__}.{module.name}").DESCRIPTOR
            for service in described.services_by_name.values():
                yield from ((service.full_name, method.name) for method in service.methods)
    yield from _OBJECT_MANAGER


def pages(asked: list[tuple[str, str, str]], user: str | None = None, password: str | None = None) -> list[list[Any]]:
    """Ask for pages as they are spelt: method, HOST:PORT, path. Status (0: no answer in HTTP) and the body's begin."""
    headers = {"Content-Type": "application/json"}
    if user is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda one: _page(one[0], one[1], one[2], headers), asked))


def _page(method: str, place: str, path: str, headers: dict[str, str]) -> list[Any]:
    connection = http.client.HTTPConnection(place, timeout=_TIMEOUT_S)
    path, _, body = path.partition(" ")
    try:
        connection.request(method, path, body or ("{}" if method in ("POST", "PATCH", "PUT") else None), headers)
        answer = connection.getresponse()
        return [answer.status, answer.read(4000).decode(errors="replace")]
    except (OSError, http.client.HTTPException) as error:
        return [0, str(error)]
    finally:
        connection.close()


def mlflow_routes() -> list[tuple[str, str]]:
    """Method and path of all pages that MLflow's server has, with something in the place of parameters."""
    from fastapi.routing import APIRoute
    from mlflow.server import app as flask_app
    from mlflow.server.auth import routes
    from mlflow.server.fastapi_app import app as fast_app

    found = {
        (method, _filled(route.path))
        for route in fast_app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    for rule in flask_app.url_map.iter_rules():
        found |= {(method, _filled(rule.rule)) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    paths = [path for path in vars(routes).values() if isinstance(path, str) and path.startswith("/")]
    found |= {(method, _filled(path)) for path in paths for method in ("GET", "POST", "PATCH", "DELETE")}
    return sorted(found)


def _filled(rule: str) -> str:
    import re

    return re.sub(r"<[^>]*>|\{[^}]*\}", "1", rule)


def database(urls: list[str]) -> list[str]:
    """Connect to PostgreSQL; what each says."""
    import psycopg

    said = []
    for url in urls:
        try:
            with psycopg.connect(url, connect_timeout=_TIMEOUT_S) as connection:
                row = connection.execute("select 1").fetchone()
                said.append("open" if row == (1,) else str(row))
        except psycopg.Error as error:
            said.append(str(error).strip())
    return said


def ray_client(address: str) -> list[str]:
    """Use the cluster through Ray's client; the address of the node where a task ran."""
    import ray

    ray.init(address)
    try:
        where: Callable[[], str] = ray.util.get_node_ip_address
        return [ray.get(ray.remote(num_cpus=1)(where).remote(), timeout=120)]
    finally:
        ray.shutdown()


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.load(sys.stdin))))  # noqa: T201 - the outcome
