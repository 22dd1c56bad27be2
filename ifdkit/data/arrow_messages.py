"""Whether the batches of an Arrow stream are compressed, before any of them is decompressed.

Arrow decompresses a batch as a whole, to any size.  `datasets` saves batches uncompressed.  pyarrow
does not tell, so the header of each message is read: a FlatBuffer in the format of `Message.fbs`
and `Schema.fbs` of the Arrow project.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from ifdkit.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_HEADER, _DATA, _COMPRESSION = 2, 1, 3
"""Numbers of fields: of Message, of DictionaryBatch and of RecordBatch."""


def check_uncompressed(path: Path) -> None:
    """Raise InputError if a batch of a stream is compressed; pyarrow's errors for other damage."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        for message in pa.ipc.MessageReader.open_stream(source):
            if message.type in ("record batch", "dictionary") and _is_compressed(message):
                raise InputError(
                    f"{path}: its batches are compressed, to a size that it does not say: save it"
                    " again with `datasets`, or as Parquet"
                )


def _is_compressed(message: pa.ipc.Message) -> bool:
    data = message.metadata.to_pybytes()
    try:
        (root,) = struct.unpack_from("<I", data, 0)
        batch = _field(data, root, _HEADER)
        if batch is not None and message.type == "dictionary":
            batch = _field(data, batch, _DATA)
        return batch is not None and _field(data, batch, _COMPRESSION) is not None
    except struct.error:
        return True  # nothing that pyarrow should decode


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where the table in a field of another table begins; None if the field is not set."""
    (to_fields,) = struct.unpack_from("<i", data, table)
    fields = table - to_fields
    (n_bytes,) = struct.unpack_from("<H", data, fields)
    if 4 + 2 * number >= n_bytes:
        return None
    (offset,) = struct.unpack_from("<H", data, fields + 4 + 2 * number)
    if not offset:
        return None
    (distance,) = struct.unpack_from("<I", data, table + offset)
    return int(table + offset + distance)
