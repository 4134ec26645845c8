"""Every rule of the audit: its code, how serious a breach is, and what to do about it; docs/audit.md tells why."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding stands in the way of a search."""

    ERROR = "error"  # a search would fail or its numbers would be wrong: exit code 1
    WARNING = "warning"  # data are lost, or a result is worse than it need be
    NOTE = "note"  # worth knowing


@dataclass(frozen=True, slots=True)
class Rule:
    """What is checked under one code."""

    code: str
    severity: Severity
    remedy: str
    graver: Severity | None = None  # when it concerns more than a limit, which docs/audit.md names


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule broken: by a recording, or by the data as a whole."""

    severity: Severity
    code: str
    recording: str | None  # SPLIT/NAME; None: all of it
    what: str
    remedy: str


ERROR, WARNING, NOTE = Severity
_ALL = (
    # Files
    Rule("unreadable", ERROR, "fetch the file again, or leave the recording out"),
    Rule("unreadable-labels", ERROR, "mend or fetch the file of labels"),
    Rule("missing-shard", ERROR, "run the same `spiketune ingest` again: it makes the missing shards anew"),
    Rule("damaged-shard", ERROR, "remove the shard and run the same `spiketune ingest` again"),
    Rule("left-out", WARNING, "mend or fetch the source again and ingest anew, if the recording is needed"),
    # Events
    Rule("no-events", ERROR, "leave the recording out"),
    Rule("damaged-times", ERROR, "mend the time that is wrong or export the recording again; ingest refuses it"),
    Rule(
        "out-of-frame",
        NOTE,
        "a few are dropped by ingest; where they are many, the sensor's size is wrong: give --size WIDTHxHEIGHT",
        ERROR,
    ),
    Rule(
        "backward-times",
        NOTE,
        "ingest raises them to the time before; where they are many, sort the recording by time and export it again",
        WARNING,
    ),
    Rule("time-gap", WARNING, "fetch or export the recording again; windows across a gap lack their events"),
    Rule("silence", NOTE, "check that the camera ran; nothing to do if the scene was empty"),
    Rule("frame-rhythm", WARNING, "use windows of several frames, or convert the video at a higher frame rate"),
    Rule("one-polarity", WARNING, "check the camera's settings and the export; use a representation without polarity"),
    Rule("hot-pixels", NOTE, "mask them in the camera, or filter them before ingest, where they are many", WARNING),
    # Boxes
    Rule("class-outside-set", ERROR, "name the label set the boxes were made with: --labels"),
    Rule("label-clock", ERROR, "shift the label times to the clock of the events"),
    Rule("labels-outside-recording", WARNING, "check the clock of the labels, or remove those boxes"),
    Rule("boxes-outside", WARNING, "nothing, if few: ingest drops them; else check the size the boxes were drawn at"),
    Rule("boxes-cut", NOTE, "nothing: ingest cuts them to the frame"),
    Rule("boxes-zero-size", WARNING, "mend or remove them; ingest drops them"),
    Rule(
        "boxes-without-events",
        NOTE,
        "nothing for objects that stand still; where they are many, check the labels' clock and pixels",
        WARNING,
    ),
    Rule("falling-label-times", NOTE, "nothing: ingest sorts them; check the tool that wrote them"),
    Rule("duplicate-boxes", WARNING, "keep one of each; twice the same box counts twice in the loss and the score"),
    Rule("irregular-labels", NOTE, "nothing; a label rate in the configuration of a tracker must not be assumed"),
    Rule("label-gap", NOTE, "nothing if they hold no object; else label them, for such stretches teach nothing"),
    Rule("no-boxes", WARNING, "add the boxes or leave the recording out; without them it teaches and tests nothing"),
    # Across recordings
    Rule("no-labels", ERROR, "put the box files where the layout has them, as NAME_bbox.npy beside the events"),
    Rule("grouped-labels", WARNING, "if these are eTraM's three grouped classes, name --labels etram3"),
    Rule("class-without-boxes", WARNING, "add recordings of it, or merge the class into another with --labels FILE"),
    Rule("class-imbalance", NOTE, "set loss.class_weights: balanced, or merge the rare class into another"),
    Rule("unlabelled-windows", NOTE, "nothing; sample windows at their labels rather than by stride"),
    Rule("several-sensors", ERROR, "audit and ingest the recordings of each sensor apart"),
    Rule("unexpected-sensor", ERROR, "name the label set with --labels: the one assumed belongs to another sensor"),
    Rule("split-leak", ERROR, "keep the recording in one split only; a score on training data is void"),
    Rule("duplicate-recording", WARNING, "keep one of them; the other counts its contents twice"),
    Rule("same-name-in-splits", ERROR, "keep the recording in one split, or rename one if they differ"),
    Rule("parts-apart", WARNING, "put all parts of one recording into one split: neighbouring seconds look alike"),
    Rule("hole-between-parts", NOTE, "nothing; windows do not reach from one part into the next"),
    Rule("no-train", ERROR, "put recordings into a folder `train`, or give --split 8:1:1"),
    Rule("no-val", WARNING, "put recordings into a folder `val`, or give --split 8:1:1", ERROR),
    Rule("no-test", NOTE, "keep some recordings aside as `test`, to judge the winner of a search on"),
)
RULES = {rule.code: rule for rule in _ALL}


def fault(code: str, recording: str | None, what: str, *, grave: bool = False, remedy: str | None = None) -> Fault:
    """A finding under this code; `grave` where it passes the rule's limit, `remedy` where it has a better one."""
    rule = RULES[code]
    severity = rule.graver if grave and rule.graver else rule.severity
    return Fault(severity, code, recording, what, remedy or rule.remedy)
