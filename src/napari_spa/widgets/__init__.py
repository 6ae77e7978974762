"""The Qt widgets and docks: they show and ask, nothing else."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Import ``RefineDock``, which napari finds here.

    The search for garbage that so large an import would set off stops the window; the dock
    searches when layers are removed and when it is closed.
    """
    if name != "RefineDock":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_spa.viewer.compat import old_objects

    with old_objects.imported():
        from napari_spa.widgets.refine.dock import RefineDock

    return RefineDock
