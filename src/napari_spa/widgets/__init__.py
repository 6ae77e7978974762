"""The Qt widgets and docks: they show and ask, nothing else.

Here napari finds the docks (``napari.yaml``).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_DOCKS = {"RefineDock": "refine", "FolderDock": "folder"}


def __getattr__(name: str) -> Any:
    """Import a dock; the search for garbage that this much would set off stops the window."""
    if name not in _DOCKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_spa.viewer.compat import old_objects

    with old_objects.imported():
        return getattr(import_module(f"{__name__}.{_DOCKS[name]}.dock"), name)
