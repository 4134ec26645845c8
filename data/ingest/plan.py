"""The plan of an ingestion: what of a source is in the dataset already, and what is to be done."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from data.errors import DatasetError, InputError
from data.formats.finding import Finding, Source
from data.formats.label_scheme import LabelScheme
from data.ingest.journal import Finished, Journal, Key, digest_of
from data.manifest import MANIFEST, LeftOut, Manifest, ShardEntry, shard_name, shard_path
from data.parallel import ask_each
from data.storage import Storage, sha256_of


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is and what there is to do; every recording is in one of them."""

    kept: tuple[ShardEntry, ...]  # of the dataset as it was
    left_out: tuple[LeftOut, ...]  # of the dataset as it was, and still damaged
    finished: tuple[Finished, ...]  # by an ingestion that was interrupted
    to_do: tuple[tuple[Finding, str], ...]  # with what decides the shard's bytes
    replaced: frozenset[Key]  # of the dataset as it was, made again


@dataclass(frozen=True, slots=True)
class Places:
    """Where an ingestion reads and writes, and the bytes of each file of the source."""

    source: Storage
    target: Storage
    bytes_of: Mapping[PurePosixPath, int]


def make_plan(found: Source, places: Places, old: Manifest | None, skip_damaged: bool) -> Plan:
    """Compare a source with a dataset and a journal.

    Args:
        found: the recordings of the source.
        places: its files, and the dataset.
        old: the manifest of the dataset, if it has one.
        skip_damaged: leave out again what was left out and has not changed since.

    Raises:
        DatasetError: the source's recordings would have other labels than the dataset's.
        InputError: two recordings want one place.
    """
    entries = {} if old is None else {(entry.split, entry.name): entry for entry in old.recordings}
    out = {} if old is None else {(gone.split, gone.name): gone for gone in old.left_out}
    findings = _placed(found.findings, (*entries.values(), *out.values()))
    journal = Journal(places.target)

    def look(item: tuple[Key, Finding]) -> ShardEntry | LeftOut | Finished | str:
        """What there is of a recording, or what decides the shard that is to be made of it."""
        key, finding = item
        if key in entries and _unchanged(finding, entries[key], places):
            return entries[key]
        if key in out and skip_damaged and _as_damaged(finding, out[key], places):
            return out[key]
        made_of = digest_of(finding, found.scheme, places.source, places.bytes_of)
        return journal.find(finding, made_of) or made_of

    kept, still_out = {key: entry for key, entry in entries.items() if key not in findings}, []
    finished: list[Finished] = []
    to_do: list[tuple[Finding, str]] = []
    replaced: set[Key] = set()
    seen = ask_each(look, findings.items(), far=places.target.local is None)
    for (key, finding), known in zip(findings.items(), seen, strict=True):
        match known:
            case ShardEntry():
                kept[key] = known
            case LeftOut():
                still_out.append(known)
            case Finished():
                finished.append(known)
            case made_of:
                to_do.append((finding, made_of))
        if key in entries and not isinstance(known, ShardEntry):
            replaced.add(key)
    still_out += [gone for key, gone in out.items() if key not in findings]
    return Plan(tuple(kept.values()), tuple(still_out), tuple(finished), tuple(to_do), frozenset(replaced))


def check_labels(scheme: LabelScheme, old: Manifest, target: Storage) -> None:
    """A dataset has one label set.

    Raises:
        DatasetError: the scheme is not that of the dataset; the first difference is named.
    """
    for what, new, before in (
        ("makes the classes", scheme.target, old.label_set),
        ("reads boxes in the classes", scheme.source, old.source_labels),
    ):
        if new != before:
            raise DatasetError(
                f"{target.location}: --labels {what} {new.name} ({', '.join(new.classes)}), but the dataset was "
                f"ingested with {before.name} ({', '.join(before.classes)}); leave --labels out, or choose another "
                "target"
            )
    for name, new_class, old_class in zip(scheme.source.classes, scheme.mapping, old.label_mapping, strict=True):
        if new_class != old_class:
            became, becomes = (
                "nothing" if number < 0 else scheme.target.classes[number] for number in (old_class, new_class)
            )
            raise DatasetError(
                f"{target.location}: --labels makes '{becomes}' of class '{name}', but in the dataset it became "
                f"'{became}'; leave --labels out, or choose another target"
            )


def _placed(findings: tuple[Finding, ...], known: tuple[ShardEntry | LeftOut, ...]) -> dict[Key, Finding]:
    """The findings by their place; one the dataset knows keeps its split, whatever shares would give it now."""
    splits = {entry.source: entry.split for entry in known}
    placed: dict[Key, Finding] = {}
    for finding in findings:
        split = splits.get(finding.events.as_posix(), finding.split)
        other = placed.setdefault((split, finding.name), replace(finding, split=split))
        if other.events != finding.events:
            raise InputError(
                f"{finding.events}: split '{split}' has a recording of this name already ({other.events}); rename one"
            )
    return placed


def _unchanged(finding: Finding, entry: ShardEntry, places: Places) -> bool:
    """Whether a recording's shard is whole and its source files are those it was made of.

    Files are read only where their times say that they were touched after the shard was made; where either side is
    far away, their sizes must do.
    """
    before = entry.digests()
    sizes = {path: digest.bytes for path, digest in before.items()}
    if sizes != {path.as_posix(): places.bytes_of[path] for path in finding.files}:
        return False
    name = shard_name(entry.split, entry.name)
    if places.target.size(name) != entry.file_bytes:
        return False
    source, target = places.source.local, places.target.local
    if source is None or target is None:
        return True
    made_ns = shard_path(target, entry.split, entry.name).stat().st_mtime_ns
    return all(
        sha256_of(source / path) == before[path.as_posix()].sha256
        for path in _touched_since(made_ns, finding, places.source)
    )


def _as_damaged(finding: Finding, gone: LeftOut, places: Places) -> bool:
    """Whether a recording that was left out has not been touched since."""
    if finding.bytes != gone.bytes:
        return False
    if places.target.local is None:
        return True
    manifest = places.target.local / MANIFEST
    return manifest.exists() and not _touched_since(manifest.stat().st_mtime_ns, finding, places.source)


def _touched_since(time_ns: int, finding: Finding, source: Storage) -> list[PurePosixPath]:
    if source.local is None:
        return []
    states = {path: (source.local / path).stat() for path in finding.files}
    # A file that is moved into another's place keeps its time of writing, but not that of its change.
    return [path for path, state in states.items() if max(state.st_mtime_ns, state.st_ctime_ns) >= time_ns]
