"""The registered detector, as MLflow runs it: this file is copied beside the weights, and nothing is unpickled.

It needs `data` and `model`, which are copied too, and nothing of the tuner.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from data.errors import RecordingError
from data.events import PolarityError, mend
from data.formats.event_files import ENDINGS
from data.formats.opening import open_recording
from model.checkpoint import load_checkpoint
from model.detecting import SHOWN_SCORE, detect
from model.device import resolve_device
from model.predictions.predicted_boxes import PredictedBoxes

COLUMNS = ("t", "x", "y", "p")


class DetectorModel(PythonModel):
    """Finds boxes in one recording: the bytes of an event file, or the columns of its events."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights."""
        self._checkpoint = load_checkpoint(Path(context.artifacts["checkpoint"]), resolve_device("auto"))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - as MLflow calls it
        model_input: pd.DataFrame,
        params: dict[str, float] | None = None,
    ) -> pd.DataFrame:
        """The boxes, in time order, as `spiketune detect` finds them.

        Args:
            context: not needed.
            model_input: one row with `events`, a file's bytes, and `suffix`, its name's ending; or a row for each event
                with `t` in µs, `x`, `y`, and `p`, 0 or 1.
            params: `least_score`: boxes below it are left out, unless they are in a track.

        Raises:
            RecordingError: the file is damaged, or the columns are no events.
            InputError: they are of another sensor.
        """
        least_score = float((params or {}).get("least_score", SHOWN_SCORE))
        if "events" in model_input:
            return self._table(self._in_file(model_input, least_score))
        return self._table(self._in_columns(model_input, least_score))

    def _in_file(self, given: pd.DataFrame, least_score: float) -> PredictedBoxes:
        if len(given) != 1 or "suffix" not in given:
            raise RecordingError("events: give one row, with the bytes of one file and its name's ending as suffix")
        suffix = str(given["suffix"].iloc[0])
        if suffix not in ENDINGS:
            raise RecordingError(f"suffix={suffix!r}: is that of no event file; give one of {', '.join(ENDINGS)}")
        with TemporaryDirectory() as folder:
            path = Path(folder, f"recording{suffix}")
            path.write_bytes(given["events"].iloc[0])
            recording = open_recording(path, self._checkpoint.size)
            chunks = (events for events, _ in recording.chunks())
            return detect(self._checkpoint, chunks, recording.size, least_score=least_score)

    def _in_columns(self, given: pd.DataFrame, least_score: float) -> PredictedBoxes:
        missing = [name for name in COLUMNS if name not in given]
        if missing:
            raise RecordingError(f"{', '.join(missing)}: missing; give t, x, y and p, or events and suffix")
        size = self._checkpoint.size
        try:
            t, x, y, p = (given[name].to_numpy(np.int64) for name in COLUMNS)
            events, _ = mend(t, x, y, p, size)
        except PolarityError as error:
            raise RecordingError(f"{error}; give 0 for darker, 1 for brighter") from None
        return detect(self._checkpoint, [events], size, least_score=least_score)

    def _table(self, found: PredictedBoxes) -> pd.DataFrame:
        boxes, names = found.boxes, np.array(self._checkpoint.label_set.classes, object)
        sides = {side: boxes.xywh[:, place].astype(np.float64) for place, side in enumerate("xywh")}
        return pd.DataFrame(
            {
                "t_us": boxes.t,
                **sides,
                "class": names[boxes.class_id],
                "score": found.scores.astype(np.float64),
                "track": boxes.track_id,
            }
        )


mlflow.models.set_model(DetectorModel())
