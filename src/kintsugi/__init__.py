"""Kintsugi finds the cracks in an image classifier and in its data, repairs them, and shows the proof.

>>> import kintsugi
>>> case = kintsugi.load("photos/", model="timm:resnet18")  # doctest: +SKIP
>>> case.audit()  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kintsugi.api import Case, load
    from kintsugi.data.imageset import ImageSet

__version__ = "0.1.0.dev0"

# Loaded on first use, so that `import kintsugi` stays fast and needs no heavy library.
_LAZY = {"load": "kintsugi.api", "Case": "kintsugi.api", "ImageSet": "kintsugi.data.imageset"}

__all__ = ["Case", "ImageSet", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kintsugi' has no attribute {name!r}")
