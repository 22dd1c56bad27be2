"""Datasets on the Hugging Face hub, through the `datasets` library (extra `hf`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ifdkit.data.plain import plain_row
from ifdkit.data.raw import Raw
from ifdkit.errors import InputError, brief


def hub_rows(name: str, similar: str = "") -> Callable[[], Iterator[Raw]]:
    """The rows of `org/name` or `org/name:split` (default split: train).

    `similar` is added to the message if there is nothing of that name: it names a file. Raises
    InputError if the extra is not installed or the hub has no such dataset.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"no such file: {name}{similar} (for a dataset of that name on the hub: pip install"
            " 'ifdkit[hf]')"
        ) from None
    identifier, _, split = name.partition(":")
    try:
        dataset = datasets.load_dataset(identifier, split=split or "train")
    except ConnectionError as error:
        raise InputError(
            f"no such file: {name}{similar}; a dataset of that name on the hub cannot be looked up:"
            f" {brief(error)}"
        ) from error
    except Exception as error:  # the library raises dozens of types, one per kind of repository
        raise InputError(
            f"{name} is neither a file nor a dataset on the hub: {brief(error)}{similar}"
        ) from error
    return lambda: (Raw(number, plain_row(value)) for number, value in enumerate(dataset))
