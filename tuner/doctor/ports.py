"""Who can reach the ports of a cluster, by the addresses they are bound to."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from tuner.doctor.facts import NodeFacts
from tuner.doctor.verdict import Level, Verdict

DASHBOARD, RAY_CLIENT, MLFLOW, POSTGRES = 8265, 10001, 5000, 5432
_SHARED_SPACE = ipaddress.ip_network("100.64.0.0/10")  # carrier-grade NAT and virtual private networks, RFC 6598


class Scope(StrEnum):
    """From where an address can be reached."""

    LOOPBACK = "loopback"
    PRIVATE = "a private network"
    PUBLIC = "a public address"
    WILDCARD = "all addresses"


def scope_of(address: str) -> Scope:
    """From where a bound address can be reached; an IPv4 address may be written as IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_unspecified:
        return Scope.WILDCARD
    if parsed.is_loopback:
        return Scope.LOOPBACK
    if parsed.is_private or parsed.is_link_local or (parsed.version == 4 and parsed in _SHARED_SPACE):
        return Scope.PRIVATE
    return Scope.PUBLIC


def ports(nodes: Sequence[NodeFacts], watched: Mapping[int, str], gcs_port: int | None) -> Iterator[Verdict]:
    """Whether strangers can reach what listens on the nodes.

    Args:
        nodes: of the cluster.
        watched: ports that are bound as one chooses, and what listens there.
        gcs_port: Ray's own on the head; Ray binds it and its processes' on all nodes to every address.
    """
    bad = False
    for node in nodes:
        for listener in node.listeners:
            scope = scope_of(listener.address)
            if scope not in (Scope.WILDCARD, Scope.PUBLIC):
                continue
            if listener.port in watched:
                bad = True
                told = f"{watched[listener.port]} listens at port {listener.port} of {scope} ({listener.address})"
                remedy = "bind it to loopback or to the private address"
                yield Verdict("ports", Level.FAIL, told, remedy, (node.node,))
    if nodes and not bad:
        yield Verdict("ports", Level.PASS, "dashboard, MLflow and PostgreSQL: none that strangers can reach")
    yield from _rays_own(nodes, gcs_port)


def _rays_own(nodes: Sequence[NodeFacts], gcs_port: int | None) -> Iterator[Verdict]:
    """Ray binds its core's ports to every address of a node, and asks for the token; a firewall must do the rest."""
    for node in nodes:
        own = {*node.own_ports} | ({gcs_port} if gcs_port is not None else set())
        reached = sorted(
            {
                listener.port
                for listener in node.listeners
                if listener.port in own and scope_of(listener.address) in (Scope.WILDCARD, Scope.PUBLIC)
            }
        )
        if not reached:
            continue
        guarded = node.auth_mode == "token"
        asks = "asks for the token" if guarded else "asks for no token"
        told = f"Ray's core listens at every address of a node, as it always does, and {asks}"
        remedy = "let a firewall or security group keep its ports to the cluster's own machines"
        if not guarded:
            remedy = f"start Ray with RAY_AUTH_MODE=token; {remedy}"
        yield Verdict("Ray's ports", Level.WARN if guarded else Level.FAIL, told, remedy, (node.node,))
