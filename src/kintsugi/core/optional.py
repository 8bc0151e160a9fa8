"""Optional libraries are imported where they are used; a missing one is named with its install line."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from kintsugi.core.errors import MissingDependency


def need(module: str, extra: str) -> ModuleType:
    """Import ``module`` or say which extra of ``kintsugi-vision`` brings it.

    Raises:
        MissingDependency: the library is not installed or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"This needs {module.partition('.')[0]!r}, which could not be imported ({error}).",
            f'Install it with: pip install "kintsugi-vision[{extra}]"',
        ) from error


def available(module: str) -> bool:
    """Whether ``module`` is installed; it is not imported."""
    from importlib.util import find_spec

    return find_spec(module) is not None
