"""Why is mAP zero? What a detector's vital signs say is wrong, the cause first."""

from dataclasses import dataclass

from data.audit.rules import Severity
from data.dataset import Dataset
from data.manifest import Split
from model.checkpoint import Checkpoint
from model.diagnosis.findings import Finding
from model.diagnosis.rules import findings
from model.diagnosis.vital_signs import WINDOWS, VitalSigns, examine
from model.evaluation.confusion import SCORE


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a detector and the data it is shown; the first finding is the cause of those after it."""

    signs: VitalSigns
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether anything keeps mAP from rising."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)

    def line(self) -> str:
        """The cause, or that there is none, in one line."""
        if not self.findings:
            return f"no fault found: {_summary(self.signs)}"
        first, more = self.findings[0], len(self.findings) - 1
        return f"{first.severity} {first.cause}: {first.where}: {first.what}" + (f" (and {more} more)" if more else "")


def diagnose(checkpoint: Checkpoint, dataset: Dataset, split: Split = Split.VAL, windows: int = WINDOWS) -> Diagnosis:
    """Find what keeps a detector's mAP at zero, from so many evaluation windows of a split and two training batches.

    Raises:
        DatasetError: a split has no recordings or no labels.
    """
    signs = examine(checkpoint, dataset, split, windows)
    return Diagnosis(signs, findings(signs))


def _summary(signs: VitalSigns) -> str:
    rates = [layer.rate for layer in signs.layers]
    parts = [f"layers fire {min(rates):.2g} to {max(rates):.2g} spikes a step"]
    if signs.learning is not None:
        parts.append(f"{signs.learning.positives_an_image:.3g} positives an image")
    parts.append(f"{signs.results.met_share:.0%} of {signs.results.truth:,} true boxes met at a score of {SCORE}")
    return ", ".join(parts)
