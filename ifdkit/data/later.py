"""Modules that register what renders a result, imported when a result is rendered.

They are of the report layer, which this one does not import, and import results of all kinds, which
takes longer than most commands need for the one that they have.
"""

from __future__ import annotations

from importlib import import_module

_MODULES: list[str] = []


def registers(module: str) -> None:
    """Import a module before a renderer is looked up."""
    if module not in _MODULES:
        _MODULES.append(module)


def import_registered() -> None:
    """Import the modules, so that what they register can be looked up."""
    for name in _MODULES:
        import_module(name)
