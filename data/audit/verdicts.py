"""What the measurements of one recording say is wrong with it."""

from collections.abc import Iterator

from data.audit.boxes import BoxAudit
from data.audit.events import LIVELY_US, EventAudit
from data.audit.gaps import Gaps
from data.audit.recording import RecordingAudit
from data.audit.rules import Fault, fault

OUTSIDE_GRAVE = 0.01  # of the events: flipped bits are one in millions, a wrong sensor size cuts off a stripe
BACKWARD_GRAVE = 0.001  # of the events: a sensor's late events are rarer, packets out of order are not
ONE_POLARITY = 0.05  # of the events: real scenes lie between 0.2 and 0.85, as edges brighten and darken by turns
HOT_GRAVE = 0.05  # of the events: below, hot pixels cost neither bytes nor score that would show
CLOCK_SHARE = 0.1  # of the boxes: fewer beside the recording may be slips, so many are another clock
STILL_GRAVE = 0.2  # of the boxes: in traffic that waits, fewer stand still for a whole window
IRREGULAR = 0.2  # of the steps between label times


def verdicts(audit: RecordingAudit) -> list[Fault]:
    """The findings of one recording, those of its reading first."""
    found = list(audit.faults)
    if audit.events is not None:
        found += _events(audit.place, audit.events)
    if audit.boxes is not None and audit.events is not None and audit.events.events:
        found += [*_boxes(audit.place, audit.boxes), *_clock(audit.place, audit.boxes, audit.events)]
        found += _label_times(audit.place, audit.boxes)
    return found


def _events(place: str, events: EventAudit) -> Iterator[Fault]:
    total = events.events
    if not total:
        yield fault("no-events", place, "holds no event inside the frame")
        return
    repairs = events.repairs
    if repairs.out_of_frame:
        flipped = f", {repairs.bit15:,} of them with bit 15 flipped" if repairs.bit15 else ""
        rows = total + repairs.out_of_frame
        what = f"{_counted(repairs.out_of_frame, 'event')} outside the frame ({_share(repairs.out_of_frame, rows)})"
        unexplained = repairs.out_of_frame - repairs.bit15
        yield fault("out-of-frame", place, what + flipped, grave=unexplained > OUTSIDE_GRAVE * rows)
    if repairs.backward_times:
        what = f"{_counted(repairs.backward_times, 'event')} whose time runs backwards "
        grave = repairs.backward_times > BACKWARD_GRAVE * total
        yield fault("backward-times", place, f"{what}({_share(repairs.backward_times, total)})", grave=grave)
    if events.gaps.count:
        yield fault("time-gap", place, f"{_counted(events.gaps.count, 'hole')} in the data, {_gaps(events.gaps)}")
    if events.silences.count:
        yield fault("silence", place, f"{_counted(events.silences.count, 'silence')}, {_gaps(events.silences)}")
    if events.rhythm.in_frames:
        every = events.rhythm.longest_us / 1000
        yield fault("frame-rhythm", place, f"its events come in bursts, some {every:.0f} ms apart, as from a video")
    if not ONE_POLARITY <= events.on_share <= 1 - ONE_POLARITY:
        yield fault("one-polarity", place, f"{events.on_share:.1%} of its events are ON")
    yield from _hot(place, events)


def _hot(place: str, events: EventAudit) -> Iterator[Fault]:
    hot = events.hot
    if hot.count:
        worst = hot.worst[0]
        what = (
            f"{_counted(hot.count, 'hot pixel')} with {hot.share:.2%} of its events; the worst is x={worst.x} "
            f"y={worst.y} with {worst.rate:,.0f} events/s"
        )
        yield fault("hot-pixels", place, what, grave=hot.share > HOT_GRAVE)


def _boxes(place: str, boxes: BoxAudit) -> Iterator[Fault]:
    total = boxes.boxes
    counted = (
        ("boxes-zero-size", boxes.zero_size, "without width or height"),
        ("boxes-outside", boxes.outside, "outside the frame altogether"),
        ("boxes-cut", boxes.cut, "partly outside the frame"),
        ("duplicate-boxes", boxes.duplicates, "given twice: one track, or one place, at one time"),
    )
    for code, count, which in counted:
        if count:
            yield fault(code, place, f"{count:,} of {_counted(total, 'box')} {which}")
    if boxes.falling_times:
        yield fault("falling-label-times", place, f"the label time falls {_counted(boxes.falling_times, 'time')}")
    if boxes.without_events:
        what = (
            f"{boxes.without_events:,} of {_counted(total, 'box')} without an event inside in the {LIVELY_US // 1000}"
        )
        grave = boxes.without_events > STILL_GRAVE * total
        yield fault("boxes-without-events", place, f"{what} ms before", grave=grave)


def _clock(place: str, boxes: BoxAudit, events: EventAudit) -> Iterator[Fault]:
    beside = boxes.early + boxes.late
    if not beside or boxes.first_us is None or boxes.last_us is None:
        return
    spans = (
        f"the boxes are of {_seconds(boxes.first_us)} to {_seconds(boxes.last_us)}, "
        f"the events of {_seconds(events.first_us)} to {_seconds(events.last_us)}"
    )
    what = f"{beside:,} of {_counted(boxes.boxes, 'box')} at times without any event: {spans}"
    yield fault("label-clock" if beside >= CLOCK_SHARE * boxes.boxes else "labels-outside-recording", place, what)


def _label_times(place: str, boxes: BoxAudit) -> Iterator[Fault]:
    times = boxes.times
    if times.irregular_share > IRREGULAR and times.rate is not None:
        what = f"{times.irregular_share:.0%} of the steps between label times differ from the usual"
        yield fault("irregular-labels", place, f"{what} {1000 / times.rate:.1f} ms by more than a tenth")
    if times.gaps:
        longest = f"the longest {_seconds(times.longest_gap_us)} from {_seconds(times.longest_gap_at_us)} on"
        yield fault("label-gap", place, f"{_counted(times.gaps, 'stretch')} without labels, {longest}")


def _gaps(gaps: Gaps) -> str:
    longest = gaps.largest[0]
    total = f"{_milliseconds(gaps.total_us)} in all, " if gaps.count > 1 else ""
    return f"{total}the longest {_milliseconds(longest.length_us)} from {_seconds(longest.start_us)} on"


def _counted(count: int, what: str) -> str:
    many = what if count == 1 else f"{what}es" if what.endswith(("x", "ch")) else f"{what}s"
    return f"{count:,} {many}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if part >= whole / 10_000 else f"1 in {whole // part:,}"


def _seconds(us: int) -> str:
    return f"{us / 1e6:.3f} s"


def _milliseconds(us: int) -> str:
    return f"{us / 1000:.1f} ms"
