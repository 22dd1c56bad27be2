"""What made a scores file: enough to make it again, and to tell whether two are comparable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.parts import InputRecord
from ifdkit.data.sources import sha256
from ifdkit.errors import InputError
from ifdkit.records import plain
from ifdkit.regular import read_regular

MANIFEST = ".manifest.json"
"""Appended to the name of an output: the file that says what made it."""
SCORES_SCHEMA = "ifdkit.scores/1"
_FAMILY = "ifdkit.scores/"
_MAX_BYTES = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCheck:
    """IFD of a run in 16 bits against IFD in float32, over the same examples."""

    n: int
    median_abs_ifd: float | None = None
    """Median of |Δ IFD|."""
    p95_abs_ifd: float | None = None
    """95 % of the examples lie within it."""
    spearman: float | None = None
    """Rank correlation of the two; None for fewer than ten examples."""
    reason: str | None = None
    """Why it was not measured."""
    elapsed_s: float | None = None
    """What the check took, loading included; it is part of the run's `elapsed_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringSetup:
    """All that the numbers depend on, besides the texts."""

    model: str
    weights_hash: str
    tokenizer_hash: str
    protocol: str
    template: str
    template_text: str
    dtype: str
    window: int
    max_length: int
    embedder: str | None
    embedder_hash: str | None
    template_date: str | None = None
    """The day, as YYYY-MM-DD, that the prompts name as today; None if the template names none."""
    stride: int | None = None
    """Tokens from one window over a long document to the next; None if there are only pairs."""
    informative_nats: float | None = None
    """The threshold of `s_ifd`; None if it is not asked for."""
    noise_copies: int | None = None
    """Of each pass over the response; None if no metric of noise is asked for."""
    noise_seed: int | None = None
    reference_model: str | None = None
    reference_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """Which part of a dataset a scores file has."""

    number: int
    """From 1 on."""
    count: int
    """Shards of the run."""
    n_blocks: int
    """Blocks of the whole dataset. A block is what is batched together, so it is never divided."""
    blocks: list[int]
    """The blocks of this shard, from 0 on, ascending."""
    examples: list[int]
    """Examples in each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The manifest beside a scores file."""

    schema: str
    version: str
    created: str
    command: str
    input: str
    input_sha256: str | None
    columns: dict[str, str]
    turns: str
    limit: int | None
    sample: int | None
    seed: int | None
    model: str
    model_source: str
    weights_hash: str
    tokenizer_hash: str
    embedder: str | None
    embedder_source: str | None
    embedder_hash: str | None
    protocol: str
    template: str
    template_text: str
    metrics: list[str]
    dtype: str
    dtype_asked: str
    """`auto`, or the same."""
    drift: PrecisionCheck | None
    """How far 16 bits lie from float32; None if `dtype` is float32."""
    device: str
    window: int
    max_length: int
    rows_in: int
    rows_scored: int
    rows_rejected: int
    examples: int
    status_counts: dict[str, int]
    requests: int
    requests_from_store: int
    requests_scored: int
    texts_embedded: int
    tokens_scored: int
    elapsed_s: float
    model_load_s: float
    scoring_s: float
    embedding_s: float
    tokens_per_s: float | None
    output: str | None = None
    output_sha256: str | None = None
    where: str | None = None
    """The expression that chose the rows; None if all were read."""
    rows_left_out: int = 0
    """Rows for which it is not true; they are not among `rows_in`."""
    reasoning: str = "drop"
    """`keep` or `drop`. Versions that did not write it did not read reasoning."""
    unread: dict[str, int] = field(default_factory=dict)
    """Field → the number of rows in which it has a value that was not used."""
    reading: dict[str, int] = field(default_factory=dict)
    """What else reading noticed, such as `ends_without_answer` → the number of rows."""
    template_date: str | None = None
    """As in ScoringSetup."""
    template_omissions: dict[str, int] = field(default_factory=dict)
    """What the template left out, by key of `ifdkit.prompting.omissions.OMISSIONS`: examples."""
    stride: int | None = None
    """As in ScoringSetup."""
    threads: int | None = None
    """Threads of the models on a CPU; None on another device, and if no model was needed."""
    lines: bool = False
    """Whether each line of a text file was a document."""
    informative_nats: float | None = None
    """As in ScoringSetup, like the four below."""
    noise_copies: int | None = None
    noise_seed: int | None = None
    reference_model: str | None = None
    reference_hash: str | None = None

    inputs: list[InputRecord] = field(default_factory=list)
    """Every input, if there are several; `columns` are then those that they have in common."""

    until: str | None = None
    """The rule that decided the size of the sample, as in `ifd ± 0.005`."""
    shard: ShardRecord | None = None
    """None if it has every row."""
    merged_from: list[str] = field(default_factory=list)
    """The shards that `ifdkit merge` made it from."""

    @property
    def setup(self) -> ScoringSetup:
        """The part that decides whether two sets of scores are comparable."""
        return ScoringSetup(**{one.name: getattr(self, one.name) for one in fields(ScoringSetup)})

    def as_json(self) -> dict[str, Any]:
        """The object of the manifest file."""
        return plain(self)

    @classmethod
    def from_json(cls, value: Any, where: str) -> Manifest:
        """Read a manifest. `where` names it in errors.

        Fields that this version does not know are ignored: the schema number rises when one of
        them changes what the others mean.  A field with a default may be missing, as in manifests
        of earlier versions.  Raises InputError for an unknown schema, or for another field that is
        missing or of another type.
        """
        if not isinstance(value, Mapping):
            raise InputError(f"{where} is not a manifest: it is not a JSON object")
        if value.get("schema") != SCORES_SCHEMA:
            raise InputError(
                f"{where} has schema {value.get('schema')!r}, and this ifdkit reads"
                f" {SCORES_SCHEMA!r}: use the version that wrote it, or score the dataset again"
            )
        found: Manifest = _from_json(cls, value, where)
        return found


def _from_json(kind: Any, value: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a JSON object, every field checked against its annotation."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: not an object: {str(value)[:40]!r}")
    hints = get_type_hints(kind)
    optional = {one.name for one in fields(kind) if one.default_factory is not MISSING}
    optional |= {one.name for one in fields(kind) if one.default is not MISSING}
    found: dict[str, Any] = {}
    for name, hint in hints.items():
        if name in optional and name not in value:
            continue
        if name not in value:
            raise InputError(f"{where} is not a complete manifest: it has no field {name!r}")
        one, nested = value[name], _dataclass_in(hint)
        is_list = get_origin(hint) is list
        if nested is not None and isinstance(one, Mapping) and not is_list:
            one = _from_json(nested, one, f"{where}, {name}")
        elif nested is not None and isinstance(one, list) and is_list:
            one = [_from_json(nested, item, f"{where}, {name}") for item in one]
        elif not _fits(one, hint):
            raise InputError(f"{where}: field {name!r} has the wrong type: {str(one)[:40]!r}")
        found[name] = one
    return kind(**found)


def _dataclass_in(hint: Any) -> Any:
    """The dataclass of `X`, `X | None` or `list[X]`; None if there is none."""
    options = get_args(hint) or (hint,)
    return next((one for one in options if hasattr(one, "__dataclass_fields__")), None)


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if hint is NoneType:
        return value is None
    origin = get_origin(hint) or hint
    if origin in (int, float):  # JSON writes 1.0 as 1, and true is not a number
        return isinstance(value, (int, origin)) and not isinstance(value, bool)
    if not isinstance(value, origin):
        return False
    parts = get_args(hint)
    if origin is list:
        return all(_fits(one, parts[0]) for one in value)
    if origin is dict:
        return all(_fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items())
    return True


def manifest_beside(path: str | PathLike[str]) -> Manifest | None:
    """The manifest of the scores file at `path`.

    None if there is none, or if it describes other bytes than these: then the scores were changed
    since, or belong to another run.  Raises InputError for a manifest that this version cannot
    read.
    """
    beside = Path(f"{path}{MANIFEST}")
    try:
        value = json.loads(read_regular(beside, _MAX_BYTES))
        if not str(value["schema"]).startswith(_FAMILY):
            return None  # the manifest of a selection or a reflection
        digest = value["output_sha256"]
        if digest is None or digest != sha256(Path(path)):
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Manifest.from_json(value, str(beside))


def save_manifest(output: str, content: Mapping[str, Any]) -> Path:
    """Write the manifest of an output beside it, and return its path. Raises OutputError."""
    with OutputFiles(Path(output), MANIFEST) as files:
        files.write(MANIFEST, json_file(content))
    return Path(f"{output}{MANIFEST}")
