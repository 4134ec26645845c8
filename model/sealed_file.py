"""A file of tensors and text that is replaced whole or not at all, and whose damage is found: safetensors with a seal.

The seal is a SHA-256 over all that the file says. The bytes are written here, not by safetensors: its writer names its
temporary files at random, so those of a killed process stay for ever; gives them to the user alone; and hides the
system's error number, by which a full disk is known.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from data.errors import DatasetError
from data.storage import sync_folder, whole_file

SEAL = "sha256"  # of the metadata
ALIGNMENT = 8  # bytes, of the first tensor, as safetensors has it

# https://github.com/huggingface/safetensors#format
DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.complex64: "C64",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a sealed file holds."""

    name: str  # as a user calls it
    format: str
    remedy: str  # where one is damaged


def write_sealed(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], path: Path, kind: Kind) -> None:
    """Write a file: after a crash, of the machine too, there is the old one or the new one.

    Raises:
        TypeError: a tensor is of a kind that cannot be kept.
        OSError: the file cannot be written; the one before is still there.
    """
    plain = {name: _plain(name, tensors[name]) for name in sorted(tensors)}
    told = {**metadata, "format": kind.format}
    header = _header(plain, {**told, SEAL: _seal(plain, told)})
    with whole_file(path) as file:
        file.write(header)
        for tensor in _in_file_order(plain).values():
            file.write(_bytes(tensor))
        file.flush()
        os.fsync(file.fileno())
    with suppress(OSError):  # not every network file system can; the file is in its place
        sync_folder(path.parent)


def read_sealed(path: Path, kind: Kind) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a file.

    Raises:
        DatasetError: the file cannot be read, is damaged, or is of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise DatasetError(f"{path}: not a readable {kind.name} ({error}); it is damaged, {kind.remedy}") from None
    seal = metadata.pop(SEAL, None)
    if seal is None and metadata.get("format") != kind.format:
        raise _foreign(path, kind, metadata)
    if seal != _seal(tensors, metadata):
        raise DatasetError(f"{path}: is damaged, its content is not what was written; {kind.remedy}")
    if metadata.pop("format", None) != kind.format:
        raise _foreign(path, kind, metadata)
    # Copies, as what is only mapped would hold the file's room, and break with it.
    return {name: tensor.clone() for name, tensor in tensors.items()}, metadata


def _foreign(path: Path, kind: Kind, metadata: Mapping[str, str]) -> DatasetError:
    return DatasetError(
        f"{path}: format {metadata.get('format')!r} is not {kind.format!r}; it is no {kind.name}, or one that another "
        "version wrote"
    )


def _plain(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.layout is not torch.strided or tensor.dtype not in DTYPES:
        raise TypeError(f"{name}: a tensor of {tensor.dtype}, {tensor.layout} cannot be kept")
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def _bytes(tensor: torch.Tensor) -> memoryview:
    """The memory of a contiguous tensor, not copied."""
    flat = tensor.as_strided((tensor.numel(),), (1,))  # where there is one number, its stride may be anything
    return flat.view(torch.uint8).numpy().data


def _seal(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _in_file_order(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The widest numbers first, so that all are aligned."""
    return dict(sorted(tensors.items(), key=lambda item: -item[1].itemsize))


def _header(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in _in_file_order(tensors).items():
        start, end = end, end + tensor.nbytes
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
