"""Boxes in VOC xml: one file a label time, one <object> a box."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.box_rows import BoxRow, boxes_of, by_time, number, whole

EDGES = ("xmin", "ymin", "xmax", "ymax")
TRACKS = ("track_id", "id")


def read_voc(files: Sequence[Path], labels: LabelSet, size: SensorSize) -> Boxes:
    """The boxes of a folder of files named for their time in µs.

    Raises:
        RecordingError: a file breaks a rule of `read_objects`, or was drawn on a picture of another size.
    """
    return boxes_of([row for time, path in by_time(files) for row in read_objects(path, time, labels, size)])


def read_objects(path: Path, time_us: int, labels: LabelSet, size: SensorSize | None = None) -> list[BoxRow]:
    """The objects of one file; edges are pixels from the frame's left top corner, 0 to its width and height.

    Args:
        path: the xml file.
        time_us: the time of the labels.
        labels: the set its class names are in.
        size: the sensor, to compare with <size>; None: not compared.

    Raises:
        RecordingError: this is no VOC file, a class is not in the label set, or an edge or a track is no number.
    """
    root = _root(path)
    if size is not None:
        _check_size(root, path, size)
    return [
        _row(item, time_us, f"{path}: object {place}", labels)
        for place, item in enumerate(root.findall("object"), start=1)
    ]


def _root(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - expat limits entity expansion
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:  # damage, or an unknown encoding
        raise RecordingError(f"{path}: cannot be read as xml ({error}); fetch it again") from None
    if root.tag != "annotation":
        raise RecordingError(f"{path}: is no VOC file: its root is <{root.tag}>, not <annotation>; export it as VOC")
    return root


def _check_size(root: ElementTree.Element, path: Path, size: SensorSize) -> None:
    sides = [(root.findtext(f"size/{side}") or "0").strip() for side in ("width", "height")]
    drawn = SensorSize(whole(sides[0], "width", str(path)), whole(sides[1], "height", str(path)))
    if 0 not in drawn and drawn != size:  # tools write 0 where they do not know
        raise RecordingError(
            f"{path}: <size> is {drawn.width}x{drawn.height}, but the sensor has {size.width}x{size.height} pixels; "
            "scale the boxes to the sensor"
        )


def _row(item: ElementTree.Element, time_us: int, where: str, labels: LabelSet) -> BoxRow:
    name = (item.findtext("name") or "").strip()
    if name not in labels.classes:
        raise RecordingError(
            f"{where}: class '{name}' is not in label set '{labels.name}' ({', '.join(labels.classes)}); "
            "name another (--labels) or mend the file"
        )
    left, top, right, bottom = (
        number((item.findtext(f"bndbox/{edge}") or "").strip(), edge, where, "number of pixels") for edge in EDGES
    )
    if right < left or bottom < top:
        low, high = ("xmin", "xmax") if right < left else ("ymin", "ymax")
        raise RecordingError(f"{where}: {high} is less than {low}; mend the file")
    return BoxRow(
        time_us, (left, top, right - left, bottom - top), labels.classes.index(name), _track(item, where), where
    )


def _track(item: ElementTree.Element, where: str) -> int | None:
    for field in TRACKS:
        text = item.findtext(field)
        if text is not None:
            return whole(text.strip(), field, where)
    return None
