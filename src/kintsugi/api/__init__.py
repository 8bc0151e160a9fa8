"""`load`, and the verbs as methods of the case it returns. One file a verb."""

from kintsugi.api.case import Case, load

__all__ = ["Case", "load"]
