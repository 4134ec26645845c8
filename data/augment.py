"""Augmentation: how training windows are made to differ from what the camera saw. Evaluation never uses it."""

from pydantic import Field, model_validator

from data.config import Config
from data.representation import RepresentationName


class AugmentConfig(Config):
    """Chances and ranges of the changes; of their defaults, only mirroring changes anything."""

    flip: float = Field(0.5, ge=0, le=1)  # chance that a window is mirrored left to right
    zoom_in: float = Field(0.0, ge=0, le=1)  # chance that a part of a window fills the frame (RVT: 0.64)
    zoom_in_max: float = Field(1.5, ge=1, le=4)  # largest enlargement (RVT: 1.5)
    zoom_out: float = Field(0.0, ge=0, le=1)  # chance that a window not zoomed into is shrunk (RVT: 0.44)
    zoom_out_max: float = Field(1.2, ge=1, le=4)  # largest factor it is shrunk by (RVT: 1.2)
    translate: float = Field(0.0, ge=0, le=0.5)  # largest shift, as a share of the frame's width and height
    multi_scale: float = Field(0.0, ge=0, le=0.5)  # ± share by which the frame size of a whole batch varies
    mosaic: float = Field(0.0, ge=0, le=1)  # chance that a window is made of four (YOLOv4)
    close_mosaic: int = Field(2, ge=0, le=1000)  # epochs at the end without mosaics: the last windows look real (YOLOX)
    event_drop: float = Field(0.0, ge=0, lt=1)  # largest share of its events that a window loses
    polarity_flip: float = Field(0.0, ge=0, le=1)  # chance that ON and OFF are exchanged
    time_flip: float = Field(0.0, ge=0, le=1)  # chance that a window runs backwards

    @model_validator(mode="after")
    def _every_setting_is_read(self) -> "AugmentConfig":
        for name, chance in (("zoom_in_max", "zoom_in"), ("zoom_out_max", "zoom_out"), ("close_mosaic", "mosaic")):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default and getattr(self, chance) == 0:
                raise ValueError(
                    f"{name}={value} but {chance}=0, so it is never read; raise {chance} or leave {name} out"
                )
        return self


def check(representation: RepresentationName, config: AugmentConfig) -> None:
    """Check that a representation can be augmented so.

    Raises:
        ValueError: it cannot.
    """
    if representation is RepresentationName.TIME_SURFACE and config.time_flip > 0:
        raise ValueError(
            f"augment.time_flip={config.time_flip} but a time surface keeps only the latest event of each pixel, "
            "which is another one when time runs backwards; set time_flip=0 or choose another representation"
        )
