"""The order of a search: its spec as it is to be used, and the dataset as the cluster knows it."""

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from data.errors import InputError
from data.storage import is_url
from tuner.jobs.order import Order

SPEC_FILE = "job.yaml"


def search_order(
    spec: Path,
    data: str,
    name: str | None = None,
    trials: int | None = None,
    priority: str | None = None,
    max_concurrent: int | None = None,
) -> Order:
    """Check a search and make it an order; what is given besides the spec is written into it.

    Raises:
        InputError: the spec, an option or the dataset's place is wrong.
    """
    from tuner.spec.search_spec import load_spec  # it loads PyTorch
    from tuner.spec.sections import Resources

    check_location(data, "--data")
    loaded = load_spec(spec, trials)
    given: dict[str, Any] = {"priority": priority, "max_concurrent": max_concurrent}
    given = {key: value for key, value in given.items() if value is not None}
    if given:
        resources = loaded.file.resources.model_dump(exclude_unset=True)
        where = " ".join(f"--{key.replace('_', '-')}" for key in given)
        parsed = Resources.parse({**resources, **given}, where)
        loaded = dataclasses.replace(loaded, file=loaded.file.model_copy(update={"resources": parsed}))
    text = yaml.safe_dump(loaded.as_tree(), sort_keys=False)
    return Order("search", name or loaded.file.name, {"dataset": data}, {SPEC_FILE: text.encode()})


def check_location(location: str, option: str) -> None:
    """Refuse what means another place on the cluster than here.

    Raises:
        InputError: it is a relative path.
    """
    if not is_url(location) and not Path(location).is_absolute():
        raise InputError(
            f"{option} {location}: is relative to this folder; give a URL, or an absolute path that every node sees"
        )
