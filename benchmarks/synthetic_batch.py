"""A training batch of nano's size without any dataset: random events, and six boxes an image."""

import torch

from data.batches import Batch

STEPS, BATCH, HEIGHT, WIDTH = 4, 4, 192, 320
CLASSES = 8  # eTraM's
OBJECTS = 6
RECORDINGS = 12  # that windows are drawn from, as many as the detector benchmark has
OCCUPIED = 0.1  # share of the cells that saw an event
SIDES_PX = (16, 64)


def batch(seed: int = 0) -> Batch:
    """Frames uint8 `[4, 4, 2, 192, 320]` and the boxes of objects that move a little from step to step."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=random)

    shape = (STEPS, BATCH, 2, HEIGHT, WIDTH)
    counts = torch.randint(1, 6, shape, generator=random) * (uniform(0, 1, *shape) < OCCUPIED)
    size = uniform(*SIDES_PX, BATCH, OBJECTS, 2)
    corner = uniform(0, 1, BATCH, OBJECTS, 2) * (torch.tensor([WIDTH, HEIGHT]) - size)
    speed = uniform(-2, 2, BATCH, OBJECTS, 2)  # px a step
    place_TBM2 = corner + torch.arange(STEPS)[:, None, None, None] * speed
    corners = torch.cat([place_TBM2, place_TBM2 + size], dim=-1).flatten(0, 2)
    image = torch.arange(STEPS * BATCH).repeat_interleave(OBJECTS)
    classes = torch.randint(0, CLASSES, (BATCH, OBJECTS), generator=random).expand(STEPS, -1, -1).flatten()
    recordings = torch.randperm(RECORDINGS, generator=random)[:BATCH]
    tracks = (recordings[:, None] << 32) + torch.arange(OBJECTS)
    return Batch(
        frames_TBCHW=counts.to(torch.uint8),
        targets=torch.cat([image[:, None], classes[:, None], corners], dim=1).float(),
        tracks=tracks.expand(STEPS, -1, -1).flatten(),
        labelled=torch.ones(STEPS, BATCH, dtype=torch.bool),
        continues=torch.zeros(BATCH, dtype=torch.bool),
        windows=(),
    )
