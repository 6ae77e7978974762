"""Segment by picking: one click, one recommended mask, four differences.

The public names are loaded when they are first used, so that ``import
napari_spa`` imports neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_spa.errors import SpaError
    from napari_spa.io.models.load import load_model
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.refine.session.session import RefinementSession

__version__ = "0.1.0.dev0"

__all__ = ["PreferenceProfile", "RefinementSession", "SpaError", "__version__", "load_model"]

_HOME = {
    "PreferenceProfile": "napari_spa.io.profiles",
    "RefinementSession": "napari_spa.refine.session.session",
    "SpaError": "napari_spa.errors",
    "load_model": "napari_spa.io.models.load",
}

if not TYPE_CHECKING:  # a type checker knows the names; this would hide misspelt ones

    def __getattr__(name: str) -> object:
        """Import a public name from the module it lives in."""
        if name not in _HOME:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names next to the submodules already imported."""
    return sorted({*globals(), *__all__})
