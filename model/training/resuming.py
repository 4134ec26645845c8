"""What a training needs to go on as if nothing had happened."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from model.training.trainer import EpochSums, Trainer


def state_of(trainer: Trainer) -> dict[str, Any]:
    """All that the next step depends on, as numbers and tensors."""
    average = trainer.average
    return {
        "detector": trainer.detector.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "numerics": trainer.stepper.numerics.state_dict(),
        "average": None if average is None else average.state_dict(),
        "memory": [list(pair) for pair in trainer.loss.memory.state()],
        "membranes": trainer.stepper.undo.membranes.read(),
        "parts": trainer.stepper.parts,
        "skipped_in_row": trainer.skipped_in_row,
        "sums": asdict(trainer.sums),
        "random": _random_state(trainer.device),
    }


def restore(trainer: Trainer, epoch: int, state: Mapping[str, Any]) -> None:
    """Make a new trainer go on from a state, in the middle of this epoch or before its first step."""
    trainer.enter(epoch)
    trainer.detector.load_state_dict(state["detector"])
    trainer.optimizer.load_state_dict(_under_settings(trainer.optimizer.state_dict(), state["optimizer"]))
    trainer.stepper.numerics.load_state_dict(state["numerics"])
    if trainer.average is not None:
        trainer.average.load_state_dict(state["average"])
    device = trainer.device
    trainer.loss.memory.restore([(vectors.to(device), tracks.to(device)) for vectors, tracks in state["memory"]])
    potentials = [None if potential is None else potential.to(device) for potential in state["membranes"]]
    trainer.stepper.undo.membranes.write(potentials)
    trainer.stepper.parts = state["parts"]
    trainer.skipped_in_row = state["skipped_in_row"]
    trainer.sums = EpochSums(**state["sums"])
    torch.set_rng_state(state["random"]["cpu"])
    if trainer.device.type == "cuda":
        torch.cuda.set_rng_state(state["random"]["cuda"], trainer.device)


def _under_settings(present: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an optimizer with the settings that it has at present: a run may go on with others.

    Rates are those of the schedule, which sets them at each step from where they begin.
    """
    if "param_groups" in present:
        return {**state, "param_groups": present["param_groups"]}
    return {part: _under_settings(present[part], state[part]) for part in present}  # several optimizers as one


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states
