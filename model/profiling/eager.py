"""Neurons run as written, whether they were compiled or not."""

import sys
from contextlib import AbstractContextManager, nullcontext

import torch


def neurons_run_eagerly() -> AbstractContextManager[object]:
    """Within it, compiled arithmetic runs operation by operation, so that operations can be seen."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing the compiler takes seconds
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
