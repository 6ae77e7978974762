"""Encode windows of images once: what the network sees, and where its answer is kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_spa.io.embeddings import EmbeddingCache, embedding_key
from napari_spa.model.spa import ImageEmbedding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_spa.core.types import FloatArray
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.refine.engine.view import Canvas, FieldOfView

_KEPT = 4
_SAM_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
_SAM_DEVIATION = np.array([58.395, 57.12, 57.375], dtype=np.float32)


class Embedder:
    """Encode views of a canvas; the latest few stay on the device, the rest in a cache."""

    def __init__(self, model: LoadedModel, cache: EmbeddingCache | None = None) -> None:
        self._spa, self._weights, self._cache = model.spa, model.identity.sha256, cache
        self._latest: OrderedDict[FieldOfView, ImageEmbedding] = OrderedDict()

    def forget(self) -> None:
        """Drop the latest few: another image comes."""
        self._latest.clear()

    def recall(self, view: FieldOfView) -> ImageEmbedding | None:
        """Return the embedding of a view among the latest few."""
        if view in self._latest:
            self._latest.move_to_end(view)
        return self._latest.get(view)

    def encode(self, canvas: Canvas, view: FieldOfView) -> ImageEmbedding:
        """Encode a view of the present image and keep it."""
        embedding = self.prefetch(canvas, view)
        self._latest[view] = embedding
        while len(self._latest) > _KEPT:
            self._latest.popitem(last=False)
        return embedding

    def prefetch(self, canvas: Canvas, view: FieldOfView) -> ImageEmbedding:
        """Encode what the network sees of a view, unless the very same is in the cache."""
        pixels = self._pixels(canvas, view)
        key = ""
        if self._cache is not None:
            kind = f"image on {self._spa.device.type}"  # last bits differ between devices
            key = embedding_key(kind, self._weights, pixels)
        known = None if self._cache is None else self._cache.get(key)
        if known is not None:
            return _from_arrays(known, self._spa.device)
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        fresh = self._spa.encode(batch.to(self._spa.device))
        # As one from the cache, down to the memory layout: the same kernels, the same bits.
        embedding = ImageEmbedding(
            fresh.tokens.contiguous(),
            fresh.projected.contiguous(),
            tuple(skip.contiguous() for skip in fresh.skips),
        )
        if self._cache is not None:
            self._cache.put(key, _to_arrays(embedding))
        return embedding

    def _pixels(self, canvas: Canvas, view: FieldOfView) -> FloatArray:
        config = self._spa.config
        if config.rules.normalise == "standardise":
            return canvas.pixels(view, config.image_size)
        pixels = canvas.read(view, config.image_size)
        if config.rules.normalise == "sam":
            pixels = (pixels * 255 - _SAM_MEAN) / _SAM_DEVIATION
        if config.rules.frame == "pad":
            rows = int(np.ceil(canvas.shape[0] / view.height * config.image_size))
            columns = int(np.ceil(canvas.shape[1] / view.width * config.image_size))
            pixels[rows:], pixels[:, columns:] = 0.0, 0.0
        return pixels.astype(np.float32)


def _to_arrays(embedding: ImageEmbedding) -> dict[str, NDArray[np.generic]]:
    named = {"tokens": embedding.tokens, "projected": embedding.projected}
    named |= {f"skip{number:02}": skip for number, skip in enumerate(embedding.skips)}
    return {name: tensor.contiguous().cpu().numpy() for name, tensor in named.items()}


def _from_arrays(arrays: Mapping[str, NDArray[np.generic]], device: torch.device) -> ImageEmbedding:
    tensors = {name: torch.tensor(array, device=device) for name, array in arrays.items()}
    skips = tuple(tensors[name] for name in sorted(tensors) if name.startswith("skip"))
    return ImageEmbedding(tensors["tokens"], tensors["projected"], skips)
