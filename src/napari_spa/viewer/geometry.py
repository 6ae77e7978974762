"""Where an image layer lies in the world, given on to the layers that annotate it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Image, Layer

_PLACING = ("scale", "translate", "rotate", "shear", "affine", "units")


def placement(image: Image) -> dict[str, Any]:
    """Return the keywords that place a new layer exactly over an image."""
    return {name: getattr(image, name) for name in (*_PLACING, "axis_labels")}


class FollowPlacement:
    """Keep layers over their image while someone moves or scales it.

    Parameters
    ----------
    image : napari.layers.Image
        The layer to follow.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self._followers: list[Layer] = []
        for name in _PLACING:
            getattr(image.events, name).connect(self._on_moved)

    def add(self, layer: Layer) -> None:
        """Let a layer follow too."""
        self._followers.append(layer)

    def discard(self, layer: Layer) -> None:
        """Let a layer go its own way."""
        self._followers = [other for other in self._followers if other is not layer]

    def close(self) -> None:
        """Stop following."""
        self._followers.clear()
        for name in _PLACING:
            getattr(self.image.events, name).disconnect(self._on_moved)

    def _on_moved(self) -> None:
        for layer in self._followers:
            for name in _PLACING:
                setattr(layer, name, getattr(self.image, name))
