"""Streaming: a live camera gets one answer every time step, the membranes going on from step to step."""

import torch

from model.decoding import Detections, decode
from model.detector import SpikingDetector
from model.head import Predictions


class DetectorStream:
    """A detector fed step by step; from `reset` on, what it says is what it would say of the whole stretch at once."""

    def __init__(self, detector: SpikingDetector) -> None:
        self._detector = detector.eval()
        self._started = False

    def reset(self) -> None:
        """Let every membrane come to rest: the next step is the first of a recording."""
        self._started = False

    @torch.no_grad()
    def predict(self, frames_TBCHW: torch.Tensor) -> Predictions:
        """Predictions for each of the next steps, one or several."""
        rows = frames_TBCHW.shape[1]
        continues = torch.full((rows,), self._started, device=frames_TBCHW.device)
        self._started = True
        predictions: Predictions = self._detector(frames_TBCHW, continues)
        return predictions

    def step(self, frame_CHW: torch.Tensor) -> Detections:
        """The boxes after one more time step's frame `[C, H, W]`, in output pixels."""
        (found,) = decode(self.predict(frame_CHW[None, None]), self._detector.config.readout)
        return found
