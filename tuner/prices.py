"""What a trial's time on a worker costs."""

from collections.abc import Mapping

import ray

from tuner.spec.sections import Resources

OTHERS = "default"
_LABELS = ("ray.io/node-group", "ray.io/accelerator-type")  # the autoscaler's node type comes first


class Meter:
    """Money a second, by node: the price of a node's hour times the larger of the trial's shares in it."""

    def __init__(self, prices: Mapping[str, float], resources: Resources) -> None:
        self._prices = prices
        self._resources = resources
        self._rates: dict[str, float] = {}  # by address

    def rate(self, address: str) -> float:
        """Money a second of a trial on the node of this address; 0 where nothing has a price."""
        if not self._prices:
            return 0.0
        if address not in self._rates:
            self._rates |= {node["NodeManagerAddress"]: self._rate_of(node) for node in ray.nodes()}
        return self._rates.get(address, self._prices.get(OTHERS, 0.0) / 3600)

    def _rate_of(self, node: Mapping[str, object]) -> float:
        labels, have = node.get("Labels"), node.get("Resources")
        kinds = [labels[name] for name in _LABELS if name in labels] if isinstance(labels, Mapping) else []
        price = next((self._prices[kind] for kind in kinds if kind in self._prices), self._prices.get(OTHERS, 0.0))
        share = 1.0
        if isinstance(have, Mapping):
            cpus, gpus = float(have.get("CPU", 0)), float(have.get("GPU", 0))
            shares = [self._resources.all_cpus / cpus if cpus else 0.0, self._resources.gpus / gpus if gpus else 0.0]
            share = min(max(shares) or 1.0, 1.0)
        return price * share / 3600
