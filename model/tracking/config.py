"""How detections of successive windows are joined into tracks."""

from typing import Self

from pydantic import Field, model_validator

from data.config import Config


class TrackingConfig(Config):
    """ByteTrack's association (Zhang et al. 2022, arXiv 2110.06864), with appearance beside overlap."""

    # ByteTrack's .5, .1 and .6 are for YOLOX. Our scores aim at the IoU and stay lower: on simulated traffic these gave
    # a HOTA of .657 against .600.
    high_score: float = Field(0.25, ge=0, le=1)  # detections from here on are matched first, with every track
    low_score: float = Field(0.05, ge=0, le=1)  # detections from here on may only keep a track alive
    new_score: float = Field(0.35, ge=0, le=1)  # least score of a detection that begins a track
    match_iou: float = Field(0.2, gt=0, le=1)  # least overlap with the predicted box, of high scores (ByteTrack 0.2)
    low_match_iou: float = Field(0.5, gt=0, le=1)  # the same of low scores (ByteTrack 0.5)
    confirm_hits: int = Field(2, ge=1)  # windows in a row a new object is found in before it gets its id
    max_lost_us: int = Field(1_000_000, ge=0)  # µs a track waits for an object that is not found (ByteTrack 30 frames)
    frame_us: int = Field(33_333, ge=1)  # µs in which motion gathers one step of noise; eTraM is labelled at 30 Hz
    # Share of appearance in the cost of a match, the rest is overlap; 0 leaves embeddings unread.
    embedding_weight: float = Field(0.5, ge=0, le=1)
    # Cosine distance below which appearance alone may match, wherever motion allows it (BoT-SORT 0.5).
    embedding_gate: float = Field(0.25, ge=0, le=1)
    embedding_momentum: float = Field(0.9, ge=0, lt=1)  # of a track's embedding, at each new detection (BoT-SORT 0.9)

    @model_validator(mode="after")
    def _scores_rise(self) -> Self:
        if not self.low_score <= self.high_score <= self.new_score:
            raise ValueError(
                f"low_score={self.low_score}, high_score={self.high_score}, new_score={self.new_score} must not fall "
                "in this order: a track begins with a high score and lives on with a low one"
            )
        return self
