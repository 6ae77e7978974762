"""The camera of a viewer, which napari 0.9 moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.components import ViewerModel


def camera_of(viewer: ViewerModel) -> Any:
    """Return the viewer's camera: of its scene, or before napari 0.9 its own."""
    return getattr(viewer, "scene", viewer).camera
