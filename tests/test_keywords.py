"""Keywords of the public functions: spelled out, typed, and those of the classes of options."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

import ifdkit
from ifdkit.engine.recipe import Recipe
from ifdkit.generation.options import GenerateKeywords, GenerateOptions
from ifdkit.judging.options import JudgeKeywords, JudgeOptions
from ifdkit.oracle.options import OracleKeywords, OracleOptions
from ifdkit.reflection.options import ReflectKeywords, ReflectOptions
from ifdkit.scoring.settings import ModelKeywords, Settings, SettingsKeywords
from ifdkit.selection.options import SelectKeywords, SelectOptions
from ifdkit.training.options import TrainKeywords, TrainOptions

FUNCTIONS = [name for name in ifdkit.__all__ if inspect.isfunction(getattr(ifdkit, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_keyword_has_a_type(name: str) -> None:
    for one in inspect.signature(getattr(ifdkit, name)).parameters.values():
        assert one.annotation not in (inspect.Parameter.empty, "Any"), one
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            assert str(one.annotation).startswith("Unpack["), one


def hints_of(*kinds: type) -> dict[str, Any]:
    return {name: hint for kind in kinds for name, hint in get_type_hints(kind).items()}


@pytest.mark.parametrize(
    ("keywords", "options"),
    [
        (OracleKeywords, (OracleOptions,)),
        (JudgeKeywords, (JudgeOptions,)),
        (SelectKeywords, (SelectOptions,)),
        (ReflectKeywords, (ReflectOptions,)),
        (GenerateKeywords, (GenerateOptions,)),
        (TrainKeywords, (Recipe, TrainOptions)),
    ],
)
def test_the_keywords_are_the_fields_of_the_options(
    keywords: type, options: tuple[type, ...]
) -> None:
    of_settings = hints_of(SettingsKeywords)
    found = {name: hint for name, hint in hints_of(keywords).items() if name not in of_settings}
    expected = hints_of(*options)
    expected.pop("recipe", None)  # its fields are keywords
    if keywords is ReflectKeywords:
        expected["stages"] |= str
    assert found == expected


def test_the_keywords_of_settings() -> None:
    known = set(hints_of(SettingsKeywords)) - {"tokenizer"}
    assert known == {one.name for one in fields(Settings)}
    assert set(hints_of(SettingsKeywords)) - set(hints_of(ModelKeywords)) == {"metrics"}
