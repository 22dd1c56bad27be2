"""Structs of Thrift's compact protocol, as Parquet files have them in footers and page headers."""

from __future__ import annotations

from typing import Any

_MAX_DEPTH = 8
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
"""Types; between _BYTE and _DOUBLE are integers."""


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The fields of a struct by number, and where it ends; doubles and truths are None.

    Raises IndexError if the data ends before, ValueError if it is no struct.
    """
    if depth > _MAX_DEPTH:
        raise ValueError("too deep")
    found: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        kind = head & 15
        if kind in (_TRUE, _FALSE):  # which the type says
            found[number] = None
        else:
            found[number], at = _value(data, at, kind, depth + 1)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if _BYTE < kind < _DOUBLE:
        return _integer(data, at)
    if kind == _BINARY:
        length, at = _varint(data, at)
        return _checked(data[at : at + length], data, at + length)
    if kind == _STRUCT:
        return read_struct(data, at, depth)
    if kind in (_LIST, _SET) and depth <= _MAX_DEPTH:
        head = data[at]
        count, at = (head >> 4, at + 1) if head < 0xF0 else _varint(data, at + 1)
        values = []
        for _ in range(count):
            value, at = _value(data, at, head & 15, depth + 1)
            values.append(value)
        return values, at
    if kind in (_TRUE, _FALSE, _BYTE, _DOUBLE):
        return _checked(None, data, at + (8 if kind == _DOUBLE else 1))
    raise ValueError(f"type {kind}")  # a map, which Parquet does not use


def _checked(value: Any, data: bytes, at: int) -> tuple[Any, int]:
    if at > len(data):
        raise IndexError(at)
    return value, at


def _integer(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return number >> 1 ^ -(number & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    raise ValueError("too long a number")
