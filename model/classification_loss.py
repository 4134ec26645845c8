"""What is lost by a score that is not its target's: plain, focal and varifocal cross entropy."""

from enum import StrEnum

import torch
from torch.nn import functional as F


class Classification(StrEnum):
    """How much each score's cross entropy weighs."""

    BCE = "bce"  # all the same
    FOCAL = "focal"  # the less the nearer it is to its target, objects against background by alpha (Lin et al. 2017)
    VARIFOCAL = "varifocal"  # objects by their quality, background by alpha * score^gamma (Zhang et al. 2021)


def classification_loss(
    logits: torch.Tensor, target: torch.Tensor, kind: Classification, alpha: float, gamma: float
) -> torch.Tensor:
    """The loss of each score against targets in [0, 1], `[...]` as both.

    Focal loss is eq. 5 of Lin et al. 2017 for targets between 0 and 1, times 2, so that alpha = 0.5 with gamma = 0 is
    plain cross entropy. Varifocal loss is eq. 2 of Zhang et al. 2021.
    """
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if kind is Classification.BCE or (kind is Classification.FOCAL and alpha == 0.5 and gamma == 0):
        return loss  # all the factors are 1
    probability = logits.sigmoid()
    if kind is Classification.VARIFOCAL:
        return torch.where(target > 0, target, alpha * probability.pow(gamma)) * loss
    miss = target * (1 - probability) + (1 - target) * probability  # 1 - p_t for targets between 0 and 1
    balance = target * alpha + (1 - target) * (1 - alpha)
    return 2 * balance * miss.pow(gamma) * loss
