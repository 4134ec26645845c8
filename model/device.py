"""Which device a detector runs on."""

import torch

from data.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device of this name; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        ConfigError: torch knows no such device, or it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without that device
        raise ConfigError(f"device '{name}' cannot be used ({error}); try --device cpu") from None
    return device
