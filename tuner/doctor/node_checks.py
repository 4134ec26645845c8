"""What the facts of the nodes mean."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tuner.doctor.facts import ClusterFacts, NodeFacts
from tuner.doctor.verdict import Level, Verdict

LITTLE_GB, TOO_LITTLE_GB = 10.0, 1.0  # a checkpoint has some MB, a trial's room on a node rarely more than a GB
SKEW_S, TOO_SKEW_S = 1.0, 30.0  # costs and waits are told by clocks; stores refuse requests that seem minutes old


def connection(facts: ClusterFacts, address: str | None) -> Verdict:
    """Whether there is a cluster."""
    if facts.wrong:
        remedy = (
            "set RAY_AUTH_MODE=token, and copy the head's ~/.ray/auth_token here with mode 600"
            if "token" in facts.wrong
            else "look at `ray status` on the head; on a node of the cluster give --address auto"
        )
        return Verdict("cluster", Level.FAIL, f"{_asked(address)}: {facts.wrong}", remedy)
    count = len(facts.nodes)
    return Verdict("cluster", Level.PASS, f"{_asked(address)} answers, with {count} node{'s'[: count != 1]}")


def _asked(address: str | None) -> str:
    return "this machine" if address is None else f"Ray at {address}"


def answering(nodes: Sequence[NodeFacts], lost: Sequence[str] = ()) -> Iterator[Verdict]:
    """Whether each node says what it was asked, and none was lost."""
    for address in lost:
        told = "was lost, and has not come back"
        yield Verdict("nodes answer", Level.WARN, told, "look whether it is up, and start Ray there", (address,))
    silent = [node for node in nodes if node.silent]
    for node in silent:
        remedy = f"look at {node.node}: is it up, and is the project of this version installed there?"
        yield Verdict("nodes answer", Level.FAIL, node.silent, remedy, (node.node,))
    if not silent:
        yield Verdict("nodes answer", Level.PASS, f"all {len(nodes)}")


def versions(nodes: Sequence[NodeFacts]) -> Iterator[Verdict]:
    """Whether Python, Ray, PyTorch and the project are the same everywhere."""
    odd = False
    known = [node for node in nodes if node.versions]
    for name in dict.fromkeys(name for node in known for name in node.versions):
        found = Counter(node.versions.get(name, "missing") for node in known)
        usual = found.most_common(1)[0][0]
        for node in known:
            here = node.versions.get(name, "missing")
            if here != usual or here == "missing":
                odd = True
                most = f", while most have {usual}" if here != usual else ""
                told = f"{_version_named(name)} is {here}{most}"
                yield Verdict("versions", Level.FAIL, told, _install(name), (node.node,))
    if known and not odd:
        told = ", ".join(f"{_version_named(name)} {value}" for name, value in known[0].versions.items())
        yield Verdict("versions", Level.PASS, told)


def _version_named(name: str) -> str:
    return {"python": "Python", "ray": "Ray", "torch": "PyTorch", "spiketune": "Spiketune"}.get(name, name)


def _install(name: str) -> str:
    if name == "code":
        return "bring the same files to every node (`ray up` does), and start Ray there again"
    return "run `./environment.sh cluster` with the same constraints.txt and Python there, and start Ray again"


def gpus(nodes: Sequence[NodeFacts]) -> Iterator[Verdict]:
    """Whether PyTorch sees the GPUs that Ray gives to trials."""
    known = [node for node in nodes if not node.silent]
    odd = False
    for node in known:
        seen = node.torch_gpus or 0
        if node.torch_wrong or seen < node.ray_gpus:
            odd = True
            told = node.torch_wrong or f"Ray counts {node.ray_gpus:g}, PyTorch sees {seen}"
            remedy = "mend the driver (`nvidia-smi` tells), or install PyTorch's build for it"
            yield Verdict("GPUs", Level.FAIL, told, remedy, (node.node,))
        elif seen > node.ray_gpus:
            odd = True
            told = f"PyTorch sees {seen}, Ray counts {node.ray_gpus:g}"
            yield Verdict("GPUs", Level.WARN, told, f"start Ray there with --num-gpus={seen}", (node.node,))
    if known and not odd:
        total = sum(node.ray_gpus for node in known)
        yield Verdict("GPUs", Level.PASS, f"{total:g}, and PyTorch sees all of them" if total else "none anywhere")


def shared(nodes: Sequence[NodeFacts], place: str | None) -> Iterator[Verdict]:
    """Whether every node can write in the shared place and sees what others write there."""
    if place is None:
        if len(nodes) > 1:
            remedy = "set SPIKETUNE_SHARED to the folder that every node sees, or give --shared"
            yield Verdict("shared storage", Level.WARN, "none is named, so it was not examined", remedy)
        return
    seen = [node for node in nodes if node.shared is not None]
    odd = False
    for node in seen:
        assert node.shared is not None
        if node.shared.wrong_writing:
            odd = True
            remedy = f"mount {place} there, and let the user that runs Ray write in it"
            yield Verdict("shared storage", Level.FAIL, node.shared.wrong_writing, remedy, (node.node,))
        elif node.shared.wrong_reading:
            odd = True
            remedy = "mount the same file system there as on the other nodes"
            yield Verdict("shared storage", Level.FAIL, node.shared.wrong_reading, remedy, (node.node,))
    if seen and not odd:
        others = ", and what one writes all others see" if len(seen) > 1 else ""
        yield Verdict("shared storage", Level.PASS, f"{place} can be written{others}")


def clocks(nodes: Sequence[NodeFacts]) -> Iterator[Verdict]:
    """Whether the nodes' clocks agree with this one's, as far as one can tell over the network."""
    most, odd = 0.0, False
    known = [node for node in nodes if node.ahead_s is not None]
    for node in known:
        assert node.ahead_s is not None
        skew = max(0.0, abs(node.ahead_s) - node.unsure_s)
        most = max(most, abs(node.ahead_s))
        if skew > SKEW_S:
            odd = True
            level = Level.FAIL if skew > TOO_SKEW_S else Level.WARN
            told = f"{abs(node.ahead_s):.1f} s {'ahead of' if node.ahead_s > 0 else 'behind'} this machine's"
            yield Verdict("clocks", level, told, "let chrony or systemd-timesyncd set the clock there", (node.node,))
    if known and not odd:
        yield Verdict("clocks", Level.PASS, f"within {max(most, 0.01):.2f} s of this machine's")


def disks(nodes: Sequence[NodeFacts]) -> Iterator[Verdict]:
    """Whether there is room."""
    found = [(node, disk) for node in nodes for disk in node.disks]
    scarce = False
    for node, disk in found:
        if disk.free_gb < LITTLE_GB:
            scarce = True
            level = Level.FAIL if disk.free_gb < TOO_LITTLE_GB else Level.WARN
            told = f"{disk.free_gb:.1f} GB are free for {disk.place} ({disk.path})"
            yield Verdict("disk", level, told, "make room there, or give it a larger disk", (node.node,))
    if found and not scarce:
        least = min(found, key=lambda each: each[1].free_gb)[1]
        yield Verdict("disk", Level.PASS, f"{least.free_gb:.0f} GB or more are free ({least.place})")


def dataset(nodes: Sequence[NodeFacts], location: str | None) -> Iterator[Verdict]:
    """Whether every node sees the same dataset."""
    if location is None:
        return
    seen = [node for node in nodes if node.dataset is not None]
    digests = Counter(node.dataset.digest for node in seen if node.dataset and node.dataset.digest)
    usual = digests.most_common(1)[0][0] if digests else ""
    odd = False
    for node in seen:
        assert node.dataset is not None
        if node.dataset.wrong:
            odd = True
            remedy = "bring it there, or name a place that every node sees"
            yield Verdict("dataset", Level.FAIL, node.dataset.wrong, remedy, (node.node,))
        elif node.dataset.digest != usual:
            odd = True
            told = f"{location} has digest {node.dataset.digest[:12]}, elsewhere {usual[:12]}"
            remedy = "bring the same dataset there, or name a place that every node sees"
            yield Verdict("dataset", Level.FAIL, told, remedy, (node.node,))
    if seen and not odd:
        yield Verdict("dataset", Level.PASS, f"{location} is there, with digest {usual[:12]}")


def secrets(nodes: Sequence[NodeFacts]) -> Iterator[Verdict]:
    """Whether files with passwords are for their owner alone."""
    found = [(node, file) for node in nodes for file in node.secrets]
    open_ones = [(node, file) for node, file in found if file.mode & 0o077]
    for node, file in open_ones:
        told = f"others may read {file.path} (mode {file.mode:o})"
        yield Verdict("secret files", Level.FAIL, told, f"chmod 600 {file.path}", (node.node,))
    if not open_ones:
        count = len({file.path for _, file in found})
        told = f"{count} looked at, for their owner alone" if count else "none in the usual places"
        yield Verdict("secret files", Level.PASS, told)
