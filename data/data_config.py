"""The configuration of the data floor: one branch of a trial's tree."""

from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from data.augment import AugmentConfig, check
from data.cache.place import CacheConfig
from data.representation import RepresentationConfig
from data.sampling import Order
from data.windows import Sampling, WindowConfig


class OnBadShard(StrEnum):
    """What becomes of a training whose dataset turns out to be damaged."""

    FAIL = "fail"  # it ends with the shard's name
    SKIP = "skip"  # other windows take the place of the damaged recording's, which is counted


class DataConfig(WindowConfig):
    """What the detector is shown: windows, how they are rendered and augmented, and how they are brought."""

    scale: float = Field(1.0, gt=0, le=1)  # output pixels a sensor pixel
    square: bool = False  # pad frames to squares, as detectors of photographs do; false: to the sensor's shape
    representation: RepresentationConfig = RepresentationConfig()
    augment: AugmentConfig = AugmentConfig()
    order: Order = Order.RANDOM  # of training windows
    cache: CacheConfig = CacheConfig()
    on_bad_shard: OnBadShard = OnBadShard.FAIL  # in training; evaluation always fails, or it would measure other things
    workers: int | None = Field(None, ge=0, le=64)  # processes that render; None: chosen from device, cores and memory

    @model_validator(mode="after")
    def _settings_fit(self) -> "DataConfig":
        check(self.representation.name, self.augment)
        if self.order is not Order.RANDOM:
            self._streaming_fits()
        elif self.sampling is Sampling.LABELS and self.overlap != WindowConfig.model_fields["overlap"].default:
            raise ValueError(f"overlap={self.overlap} but a window for each label has no stride; set sampling=stride")
        return self

    def _streaming_fits(self) -> None:
        order = f"order={self.order.value}"
        if self.sampling is not Sampling.STRIDE:
            raise ValueError(f"{order} runs over recordings window by window; set sampling=stride")
        if self.order is Order.STREAMING and (self.augment.mosaic or self.augment.time_flip):
            raise ValueError(f"{order} shows recordings as they go; set augment.mosaic and augment.time_flip to 0")
        if self.augment.multi_scale:
            raise ValueError(f"{order} carries membranes from batch to batch, of one size; set augment.multi_scale=0")
        if self.max_windows_per_recording is not None:
            raise ValueError(f"{order} passes over whole recordings; leave out max_windows_per_recording")

    def rendering(self) -> dict[str, Any]:
        """What a window's frames depend on, besides its events and its borders."""
        names = {"time_steps", "scale", "square", "representation", "max_events_per_window"}
        return self.model_dump(mode="json", include=names)
