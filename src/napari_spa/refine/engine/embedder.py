"""Encode windows of images once: what the network sees, and where its answer is kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_spa.io.embeddings import EmbeddingCache, embedding_key
from napari_spa.model.device import side_by_side
from napari_spa.model.spa import ImageEmbedding, PromptEmbedding, Spa
from napari_spa.refine.engine.view import FieldOfView, ImageSampler

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import FloatArray, LocalMask, Prompts
    from napari_spa.io.models.load import LoadedModel


_KEPT = 4
_WINDOW_BYTES = 64 * 2**20
"""Windows of the search are kept up to this size: a neighbour's search sees most of them again."""
_SAM_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
_SAM_DEVIATION = np.array([58.395, 57.12, 57.375], dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of an image, encoded."""

    views: Sequence[FieldOfView]  # where they lie
    image: ImageEmbedding  # a row for each

    @classmethod
    def of(
        cls, seen: Mapping[FieldOfView, ImageEmbedding], views: Sequence[FieldOfView]
    ) -> Windows:
        """Put windows that were encoded one by one side by side."""
        rows = [seen[view] for view in views]
        return cls(
            views,
            ImageEmbedding(
                torch.cat([row.tokens for row in rows]),
                torch.cat([row.projected for row in rows]),
                tuple(torch.cat(skips) for skips in zip(*(r.skips for r in rows), strict=True)),
            ),
        )


@torch.inference_mode()
def encode_pixels(spa: Spa, pixels: FloatArray) -> ImageEmbedding:
    """Encode what the network sees of one window, (S, S, 3) float32.

    One by one and not as a batch: what a window gives never depends on what else was looked
    at, down to the last bit.
    """
    fresh = spa.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None].to(spa.device))
    # As one from the cache, down to the memory layout: the same kernels, the same bits.
    return ImageEmbedding(
        fresh.tokens.contiguous(),
        fresh.projected.contiguous(),
        tuple(skip.contiguous() for skip in fresh.skips),
    )


def encode_all(spa: Spa, pictures: Iterable[FloatArray]) -> list[ImageEmbedding]:
    """Encode what the network sees of some windows, (S, S, 3) float32 each."""
    return list(side_by_side(spa, spa.config.image_size, partial(encode_pixels, spa), pictures))


class Embedder:
    """Encode views of a sampler; the latest few stay on the device, the rest in a cache."""

    def __init__(self, model: LoadedModel, cache: EmbeddingCache | None = None) -> None:
        self._spa, self._weights, self._cache = model.spa, model.identity.sha256, cache
        self._latest: OrderedDict[FieldOfView, ImageEmbedding] = OrderedDict()
        self._windows: OrderedDict[FieldOfView, ImageEmbedding] = OrderedDict()

    def forget(self) -> None:
        """Drop what is kept on the device: another image comes."""
        self._latest.clear()
        self._windows.clear()

    def recall(self, view: FieldOfView) -> ImageEmbedding | None:
        """Return the embedding of a view among the latest few."""
        if view in self._latest:
            self._latest.move_to_end(view)
        return self._latest.get(view)

    def encode(self, sampler: ImageSampler, view: FieldOfView) -> ImageEmbedding:
        """Encode a view of the present image and keep it."""
        embedding = self._stored(sampler, view, self._windows.get(view))
        self._latest[view] = embedding
        while len(self._latest) > _KEPT:
            self._latest.popitem(last=False)
        return embedding

    def windows(self, sampler: ImageSampler, views: Sequence[FieldOfView]) -> Windows:
        """Encode those windows of the present image that were not lately, and keep them."""
        # The widest first: where they lie within each other, the image is read once.
        widest_first = sorted(set(views), key=lambda view: -view.height)
        known = {**self._latest, **self._windows}
        missing = [view for view in widest_first if view not in known]
        known.update(zip(missing, self._fresh(sampler, missing), strict=True))
        seen = {view: known[view] for view in widest_first}
        self._windows.update(seen)
        for view in seen:
            self._windows.move_to_end(view)
        total = sum(_nbytes(kept) for kept in self._windows.values())
        while total > _WINDOW_BYTES:
            total -= _nbytes(self._windows.popitem(last=False)[1])
        return Windows.of(seen, views)

    def around(self, row: float, column: float, margin: float) -> Windows | None:
        """Return encoded windows that show a place, the smallest first; None without any.

        Of each size the one in whose middle the place lies best, a share of its side from the
        edge; nothing is encoded.
        """
        best: dict[int, tuple[float, FieldOfView]] = {}
        known = {**self._windows, **self._latest}
        for view in known:
            if view.contains(row, column, margin=margin):
                middle = view.centre
                away = float(np.hypot(row - middle[0], column - middle[1]))
                size = round(2 * np.log2(view.height))
                best[size] = min(best.get(size, (np.inf, view)), (away, view), key=lambda p: p[0])
        if not best:
            return None
        return Windows.of(known, [view for _, (_, view) in sorted(best.items())])

    def prefetch(self, sampler: ImageSampler, view: FieldOfView) -> None:
        """Have the embedding of another image's view in the cache; touches nothing else."""
        self._stored(sampler, view, None)

    def _stored(
        self, sampler: ImageSampler, view: FieldOfView, known: ImageEmbedding | None
    ) -> ImageEmbedding:
        """Encode what the network sees of a view, unless the very same is in the cache."""
        if self._cache is None:
            return known or self._fresh(sampler, [view])[0]
        pixels = self._pixels(sampler, view)
        kind = f"image on {self._spa.device.type}"  # last bits differ between devices
        key = embedding_key(kind, self._weights, pixels)
        stored = self._cache.get(key)
        if stored is not None:
            return _from_arrays(stored, self._spa.device)
        embedding = known or encode_all(self._spa, [pixels])[0]
        self._cache.put(key, _to_arrays(embedding))
        return embedding

    def _fresh(self, sampler: ImageSampler, views: Sequence[FieldOfView]) -> list[ImageEmbedding]:
        return encode_all(self._spa, (self._pixels(sampler, view) for view in views))

    def _pixels(self, sampler: ImageSampler, view: FieldOfView) -> FloatArray:
        config = self._spa.config
        if config.rules.normalise == "standardise":
            return sampler.pixels(view, config.image_size)
        pixels = sampler.read(view, config.image_size)
        if config.rules.normalise == "sam":
            pixels = (pixels * 255 - _SAM_MEAN) / _SAM_DEVIATION
        if config.rules.frame == "pad":
            rows = int(np.ceil(sampler.shape[0] / view.height * config.image_size))
            columns = int(np.ceil(sampler.shape[1] / view.width * config.image_size))
            pixels[rows:], pixels[:, columns:] = 0.0, 0.0
        return pixels.astype(np.float32)


def _nbytes(embedding: ImageEmbedding) -> int:
    return sum(t.nbytes for t in (embedding.tokens, embedding.projected, *embedding.skips))


def _to_arrays(embedding: ImageEmbedding) -> dict[str, NDArray[np.generic]]:
    named = {"tokens": embedding.tokens, "projected": embedding.projected}
    named |= {f"skip{number:02}": skip for number, skip in enumerate(embedding.skips)}
    return {name: tensor.contiguous().cpu().numpy() for name, tensor in named.items()}


def _from_arrays(arrays: Mapping[str, NDArray[np.generic]], device: torch.device) -> ImageEmbedding:
    tensors = {name: torch.tensor(array, device=device) for name, array in arrays.items()}
    skips = tuple(tensors[name] for name in sorted(tensors) if name.startswith("skip"))
    return ImageEmbedding(tensors["tokens"], tensors["projected"], skips)


def embed_prompts(
    spa: Spa,
    shape: tuple[int, int],
    view: FieldOfView,
    prompts: Prompts,
    picked: FloatArray | None = None,
) -> PromptEmbedding:
    """Bring prompts from image pixels into the model's pixels and point order, and embed them.

    ``picked`` are the logits ``(4h, 4w)`` of the last pick, for the mask branch; they go before a
    rough mask.
    """
    size, device = spa.config.image_size, spa.device
    swap = spa.config.rules.point_order == "rc"

    def place(row: float, column: float) -> tuple[float, float]:
        x, y = view.to_model(row, column, size)
        return (y, x) if swap else (x, y)

    points = labels = boxes = mask = None
    if prompts.points:
        points = torch.tensor([[place(c.row, c.column) for c in prompts.points]]).float()
        labels = torch.tensor([[float(c.label) for c in prompts.points]])
        points, labels = points.to(device), labels.to(device)
    if prompts.box is not None:
        first, second = prompts.box.corners
        corners = (*place(*first), *place(*second))
        boxes = torch.tensor([corners]).float().to(device)
    if picked is not None:
        mask = torch.from_numpy(picked)[None, None].to(device)
    elif prompts.mask is not None:
        mask = _mask_logits(spa, shape, view, prompts.mask).to(device)
    return spa.embed_prompts(points, labels, boxes=boxes, mask_logits=mask)


def _mask_logits(
    spa: Spa, shape: tuple[int, int], view: FieldOfView, mask: LocalMask
) -> torch.Tensor:
    """Turn a rough mask into the decoder's kind of logits: about +-4, soft at its edge."""
    seen = view.region(shape)
    local = FieldOfView(view.row - seen.row, view.column - seen.column, view.height, view.width)
    covered = ImageSampler(mask.within(seen)).read(local, 4 * spa.config.grid)[..., 0]
    return torch.from_numpy(8.0 * covered - 4.0)[None, None]
