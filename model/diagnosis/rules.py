"""The rules of a diagnosis: pure functions of a detector's vital signs."""

import itertools
import math
from collections.abc import Callable, Iterator

from data.audit.rules import Severity
from model.diagnosis.findings import Cause, Finding
from model.diagnosis.layer_signs import LayerSigns
from model.diagnosis.renaming import permutation
from model.diagnosis.vital_signs import VitalSigns

DEAD = 1e-4  # spikes a neuron and step: trained layers fire from 0.01 on, and nothing is learnt from one in 10,000
SATURATED = 0.95  # of the spikes a step that are possible: pooled layers of one-spike neurons reach 0.8 in health
SILENT = 0.5  # of a layer's channels: of trained layers, one in twenty stays silent
VANISHED = 1e-5  # of the longest gradient of a stage: healthy stages lie within 1 to 1,000 of each other
UNMOVED = 1e-5  # of the weights' length: one step of AdamW at lr=1e-5 moves them farther
FILTERED = 0.9  # of the true boxes: beyond it, mAP tells of a remnant, or is 0 by definition
FILTERED_MANY = 0.5  # of the true boxes: worth knowing
AT_ORIGIN = 0.8  # of the best predictions, in a corner of about 2 % of the frame
TRUTH_AT_ORIGIN = 0.2  # of the true boxes: where more lie there, predictions belong there too
POSITIVES = 0.05  # points a box: below it, not one box in twenty teaches where it is
MET = 0.3  # of the true boxes: where fewer are met at all, their classes tell nothing
PERMUTED = 0.8  # mean share of a true class that has the one name a renaming gives it
STRAIGHT = 0.5  # mean share of a true class that has its own name: what two classes have by chance


def findings(signs: VitalSigns) -> tuple[Finding, ...]:
    """What the numbers say, errors first, and among them what causes the others before what follows from it."""
    found = itertools.chain.from_iterable(rule(signs) for rule in _RULES)
    return tuple(sorted(found, key=lambda finding: list(Severity).index(finding.severity)))


def _error(cause: Cause, where: str, what: str, value: float, limit: float) -> Finding:
    return Finding(Severity.ERROR, cause, where, what, value, limit)


def _warning(cause: Cause, where: str, what: str, value: float, limit: float) -> Finding:
    return Finding(Severity.WARNING, cause, where, what, value, limit)


def _label_set(signs: VitalSigns) -> Iterator[Finding]:
    ours, theirs = signs.trained_on, signs.label_set
    if ours != theirs:
        told = [f"'{labels.name}' ({', '.join(labels.classes)})" for labels in (ours, theirs)]
        what = f"trained on {told[0]}, the data has {told[1]}: numbers mean other classes"
        different = sum(a != b for a, b in itertools.zip_longest(ours.classes, theirs.classes))
        yield _error(Cause.LABEL_SET, "checkpoint", what, different, 0)


def _sensor(signs: VitalSigns) -> Iterator[Finding]:
    ours, theirs = signs.trained_size, signs.size
    if ours != theirs:
        what = f"trained for {ours.width}x{ours.height} pixels, the data has {theirs.width}x{theirs.height}"
        yield _error(Cause.SENSOR, "checkpoint", what, theirs.width, ours.width)


def _not_finite(signs: VitalSigns) -> Iterator[Finding]:
    if not math.isfinite(signs.moved):
        yield _error(Cause.NOT_FINITE, "weights", "some are not finite", signs.moved, 0)


def _below_filter(signs: VitalSigns) -> Iterator[Finding]:
    results = signs.results
    share = results.filtered / results.boxes
    what = f"{share:.0%} of {results.boxes:,} true boxes are smaller than the evaluation counts"
    if share >= FILTERED:
        yield _error(Cause.BELOW_FILTER, f"split {signs.split}", what, share, FILTERED)
    elif share >= FILTERED_MANY:
        yield _warning(Cause.BELOW_FILTER, f"split {signs.split}", what, share, FILTERED_MANY)


def _unlabelled(signs: VitalSigns) -> Iterator[Finding]:
    learning = signs.learning
    if learning is not None and not learning.boxes:
        what = f"no box in {learning.images:,} images, of which {learning.labelled:.0%} are labelled"
        yield _error(Cause.NO_POSITIVES, "training batches", what, 0, POSITIVES)


def _learning_rate(signs: VitalSigns) -> Iterator[Finding]:
    # The weights tell, not the recorded rate: that of a schedule's last step is as good as 0 in health.
    if signs.epoch and signs.moved < UNMOVED:
        what = f"after epoch {signs.epoch} they have moved by {signs.moved:.1e} of their length"
        last = "" if signs.lr is None else f"; the last step's learning rate was {signs.lr:.3g}"
        yield _error(Cause.LEARNING_RATE, "weights", what + last, signs.moved, UNMOVED)


def _at_origin(signs: VitalSigns) -> Iterator[Finding]:
    found, true = signs.results.found_at_origin, signs.results.truth_at_origin
    if found >= AT_ORIGIN and true <= TRUTH_AT_ORIGIN:
        what = f"{found:.0%} of the best predictions lie beside (0, 0), where {true:.0%} of the true boxes are"
        yield _error(Cause.AT_ORIGIN, "head", what, found, AT_ORIGIN)


def _unanswered(signs: VitalSigns) -> Iterator[Finding]:
    learning = signs.learning
    if learning is not None and learning.boxes and learning.positives_a_box < POSITIVES:
        what = f"{learning.positives_an_image:.2g} points an image answer for {learning.boxes_studied:,} true boxes"
        yield _error(Cause.NO_POSITIVES, "training batches", what, learning.positives_a_box, POSITIVES)


def _dead(signs: VitalSigns) -> Iterator[Finding]:
    for layer in signs.layers:
        if layer.rate < DEAD and not _wakes_in_training(layer):
            yield _error(Cause.DEAD_LAYER, layer.name, f"fires {layer.rate:.2g} spikes a step", layer.rate, DEAD)


def _saturated(signs: VitalSigns) -> Iterator[Finding]:
    for layer in signs.layers:
        if layer.levels is not None and layer.rate >= SATURATED * layer.levels:
            what = f"fires {layer.rate:.3g} of {layer.levels} possible spikes a step"
            yield _error(Cause.SATURATED_LAYER, layer.name, what, layer.rate / layer.levels, SATURATED)


def _vanished(signs: VitalSigns) -> Iterator[Finding]:
    if signs.learning is None:
        return
    gradients = signs.learning.gradients
    longest = max(gradients.values())
    lost = [stage for stage, length in gradients.items() if length <= VANISHED * longest]
    if lost:
        stage = lost[-1]  # gradients come from behind: of the stages without one, it is the first they should reach
        what = f"its gradient is {gradients[stage]:.1e} long, the longest of a stage {longest:.1e}"
        yield _error(Cause.VANISHED_GRADIENT, stage, what, gradients[stage] / max(longest, 1e-30), VANISHED)


def _class_map(signs: VitalSigns) -> Iterator[Finding]:
    if signs.trained_on != signs.label_set or signs.results.met_share < MET:
        return
    straight, renamed, names = permutation(signs.results.met)
    if straight <= STRAIGHT and renamed >= PERMUTED:
        classes = signs.label_set.classes
        swaps = ", ".join(f"{classes[true]} as {classes[found]}" for true, found in names.items() if true != found)
        what = f"boxes are found, but {swaps}: {straight:.0%} by their own name, {renamed:.0%} by these"
        yield _error(Cause.CLASS_MAP, f"split {signs.split}", what, straight, STRAIGHT)


def _unsettled(signs: VitalSigns) -> Iterator[Finding]:
    for layer in (layer for layer in signs.layers if _wakes_in_training(layer)):
        what = f"fires {layer.rate:.2g} spikes a step, but {layer.training_rate:.2g} where norms follow the batch"
        yield _warning(Cause.UNSETTLED_NORMS, layer.name, what, layer.rate, DEAD)


def _wakes_in_training(layer: LayerSigns) -> bool:
    return layer.rate < DEAD and layer.training_rate is not None and layer.training_rate >= DEAD


def _silent(signs: VitalSigns) -> Iterator[Finding]:
    for layer in signs.layers:
        if layer.rate >= DEAD and layer.silent >= SILENT:
            what = f"{layer.silent:.0%} of its channels never fire"
            yield _warning(Cause.SILENT_CHANNELS, layer.name, what, layer.silent, SILENT)


# A rule stands before those whose findings it may cause: without labels nothing moves; at the origin, points lie in no
# box; weights that do not move leave the norms raw and layers dead; dead and saturated layers pass no gradient on.
_RULES: tuple[Callable[[VitalSigns], Iterator[Finding]], ...] = (
    _label_set,
    _sensor,
    _not_finite,
    _below_filter,
    _unlabelled,
    _learning_rate,
    _at_origin,
    _unanswered,
    _dead,
    _saturated,
    _vanished,
    _class_map,
    _unsettled,
    _silent,
)
