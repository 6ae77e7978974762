"""Make the engine behind the dock from what a user has set; slow, for the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    from napari_spa.viewer.settings import Settings

SessionFactory = Callable[[str], RefinementSession]
"""Makes a session from a model's name or path."""


def make_session(model: str, settings: Settings | None = None) -> RefinementSession:
    """Load a model and return a session for it."""
    from napari_spa.viewer.compat import load_torch

    load_torch()
    from napari_spa.io.embeddings import EmbeddingCache, default_folder
    from napari_spa.io.models.load import load_model
    from napari_spa.viewer.settings import Settings

    settings = settings or Settings()
    loaded = load_model(model, device=settings.device)
    folder = default_folder() if settings.cache_on_disk else None
    cache = EmbeddingCache(folder, disk_bytes=int(settings.cache_gigabytes * 1e9))
    return RefinementSession(loaded, cache=cache)
