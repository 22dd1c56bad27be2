"""Files that are not read, recognized by their first bytes: what they are, and what to do."""

from __future__ import annotations

import re

_UNPACK = "unpack it, and give the file inside"
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x05\x06", "an empty zip archive", "give the file that it should contain"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it (unxz), or use .gz or .zst"),
    (b"BZh", "compressed with bzip2", "unpack it (bunzip2), or use .gz or .zst"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "unpack it (unlz4), or use .gz or .zst"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed with snappy", "unpack it, or use .gz or .zst"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "save the sheet as CSV"),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself",
     "fetch the file with `git lfs pull`"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV or JSON Lines"),
    (b"ARROW1\x00\x00", "an Arrow IPC (Feather) file", "write it as Parquet"),
    (b"\x89HDF\r\n", "an HDF5 file", "write the rows as JSON Lines or Parquet"),
    (b"\x93NUMPY", "a NumPy array", "write the rows as JSON Lines or Parquet"),
    (b"Obj\x01", "an Avro file", "write it as Parquet"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"%PDF-", "a PDF", "extract its text first"),
    (b"\x89PNG", "an image", "give a file with rows of text"),
    (b"\xff\xd8\xff", "an image", "give a file with rows of text"),
    (b"\x7fELF", "a program", "give a file with rows of text"),
)  # fmt: skip
"""First bytes → what the file is, and what to do."""
_TAR_MAGIC = (257, b"ustar")
_PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95|[\]}(cX])")
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_PYTHON = re.compile(rb"[\[(]?\s*\{\s*'")
_YAML = re.compile(rb"(?:%YAML|---\s*\n|(?:- )?[A-Za-z_][\w ]{0,40}:(?:[ \t]|\r?\n))")


def what_it_is(head: bytes) -> str | None:
    """Such as `a zip archive: unpack it`; None for a file that may be data.

    `head` are the first bytes of the file, decompressed if it is a .gz or .zst file.
    """
    for signature, kind, advice in _SIGNATURES:
        if head.startswith(signature):
            return f"{kind}: {advice}"
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(head)
    if head[_TAR_MAGIC[0] :].startswith(_TAR_MAGIC[1]):
        return f"a tar archive: {_UNPACK}"
    if _PICKLE.match(head):
        return "a Python pickle, which can run code when it is read: write the rows as JSON Lines"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(text):
        return (
            "a web page, not data: the download may have needed a login or another address;"
            " download the file itself"
        )
    if text.startswith(b"<?xml"):
        return "XML: write the rows as JSON Lines or CSV"
    return None


def may_be_text(head: bytes) -> bool:
    """Whether a text file may begin so: with HTML, say, or with the letters of a signature."""
    return b"\0" not in head and not head.startswith(b"version https://git-lfs")


def _zip_kind(head: bytes) -> str:
    if b"xl/" in head or b"[Content_Types].xml" in head:
        return "an Excel workbook: save the sheet as CSV"
    if b"mimetypeapplication/vnd.oasis.opendocument" in head:
        return "an OpenDocument file: save the sheet as CSV"
    return f"a zip archive: {_UNPACK}"


def looks_like(head: bytes) -> str | None:
    """What a file without any readable row may be, and what to do; None if nothing is known."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _PYTHON.match(text):
        return "it contains Python objects, not JSON (single quotes): write it with json.dumps"
    if _YAML.match(text):
        return "it looks like YAML: convert it to JSON"
    return None
