"""The columns of a shard's file, which its writer and its reader share."""

import zlib
from typing import Any

import pyarrow as pa

from data.manifest import SCHEMA_VERSION
from data.packing import Words

_BOX = [("t", pa.int64())] + [(side, pa.float32()) for side in "xywh"] + [(i, pa.int64()) for i in ("class", "track")]
_RUN = [(column, pa.int64()) for column in ("first_ms", "end_ms", "events")]
BOX_COLUMNS = tuple(name for name, _ in _BOX)
RUN_COLUMNS = tuple(name for name, _ in _RUN)


def schema(words: Words) -> pa.Schema:
    """The columns of a shard of these words; every record batch has one row."""
    return pa.schema(
        [
            ("first_ms", pa.int64()),
            ("offsets", pa.large_list(pa.int64())),  # of each millisecond into words, and their end
            ("words", pa.large_list(pa.from_numpy_dtype(words.dtype))),
            ("boxes", pa.large_list(pa.struct(_BOX))),  # all in the last row, none in the others
            ("runs", pa.large_list(pa.struct(_RUN))),  # of the rows before, all in the last row
            ("crc32", pa.uint32()),  # of all columns of the row before this one
        ],
        metadata={"spiketune.shard": str(SCHEMA_VERSION)},
    )


def checksum(batch: pa.RecordBatch) -> int:
    """zlib's CRC-32 of what a row's columns hold, in their order; crc32 itself left out."""
    first_ms, offsets, words, *lists = (batch.column(i) for i in range(5))
    value = zlib.crc32(first_ms.to_numpy())
    columns: list[Any] = [offsets.values, words.values, *(each for rows in lists for each in rows.values.flatten())]
    for column in columns:
        value = zlib.crc32(column.to_numpy(), value)
    return value
