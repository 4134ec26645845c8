"""How many bytes a training step keeps for its backward pass, stage by stage."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from model.profiling.eager import neurons_run_eagerly

BETWEEN = "between stages"


def activation_bytes(detector: nn.Module, frames_TBCHW: torch.Tensor, stages: Sequence[str]) -> dict[str, int]:
    """Bytes that autograd saves in a training forward of these frames, by the stage (a module's name) that saves them.

    A tensor that several operations save counts once, for the first. Weights do not count. Runs on a copy on the CPU,
    in float32 with eager neurons, and takes the memory it counts.
    """
    copied = copy.deepcopy(detector).cpu().train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in copied.parameters()}
    saved = dict.fromkeys((*stages, BETWEEN), 0)
    kept: dict[int, torch.Tensor] = {}  # alive until the end, so that no address comes twice
    inside = [BETWEEN]

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and storage.data_ptr() not in kept:
            kept[storage.data_ptr()] = tensor.detach()
            saved[inside[-1]] += storage.nbytes()
        return tensor

    for name in stages:
        _announce(copied.get_submodule(name), name, inside)
    with neurons_run_eagerly(), saved_tensors_hooks(keep, lambda tensor: tensor):
        copied(frames_TBCHW.cpu())
    return saved


def _announce(stage: nn.Module, name: str, inside: list[str]) -> None:
    def enter(*_: object) -> None:
        inside.append(name)

    def leave(*_: object) -> None:
        inside.pop()

    stage.register_forward_pre_hook(enter)
    stage.register_forward_hook(leave)
