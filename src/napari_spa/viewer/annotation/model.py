"""The model that proposes: its session, made from the settings when it is needed first."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.compat import load_torch, old_objects

if TYPE_CHECKING:
    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.settings import Settings


_QUICK = 512
"""Models that look at more pixels a side are not rehearsed: that would take as long as a click."""

SessionFactory = Callable[[str], RefinementSession]
"""Makes a session from a model's name or path."""


@old_objects.imported()
def make_session(model: str, settings: Settings | None = None) -> RefinementSession:
    """Load a model and return a session for it."""
    load_torch()
    from napari_spa.io.embeddings import EmbeddingCache, default_folder
    from napari_spa.io.models.load import load_model
    from napari_spa.viewer.settings import Settings

    settings = settings or Settings()
    loaded = load_model(model, device=settings.device)
    folder = default_folder() if settings.cache_on_disk else None
    cache = EmbeddingCache(folder, disk_bytes=int(settings.cache_gigabytes * 1e9))
    return RefinementSession(loaded, cache=cache)


@old_objects.imported()
def rehearse(session: RefinementSession, progress: Progress) -> None:
    """Play a round on noise with a session's model, so that the first click is no slower.

    What is imported and compiled at first use is there then; the session stays as it is.
    """
    from napari_spa.viewer.annotation.round import render_round

    size = session.model.config.image_size
    if size > _QUICK:
        return
    trial = RefinementSession(session.model, config=session.config)
    trial.set_image(np.random.default_rng(0).random((size // 2, size // 2), dtype=np.float32))
    render_round(trial, trial.start([(size / 4, size / 4)], progress=progress))


class ActiveModel:
    """Keep one model's session."""

    def __init__(self, factory: SessionFactory, equip: Callable[[RefinementSession], None]) -> None:
        self.factory, self._equip = factory, equip
        self.name = "spa-tiny"
        self._loaded: tuple[str, RefinementSession] | None = None
        self._loading = Lock()

    @property
    def session(self) -> RefinementSession | None:
        """The session of this model, once it is loaded."""
        known = self._loaded
        return known[1] if known is not None and known[0] == self.name else None

    def loader(self) -> Callable[[Progress], RefinementSession]:
        """Return what loads the model where it is not loaded; for the worker."""
        name, factory, loaded = self.name, self.factory, self.session

        def load(progress: Progress) -> RefinementSession:
            session = loaded
            if session is None:
                progress(0.0, "loading the model")
                with self._loading:  # who clicks while it is loaded ahead waits for that
                    known = self._loaded
                    session = known[1] if known and known[0] == name else factory(name)
                    self._loaded = (name, session)
            self._equip(session)
            self._loaded = (name, session)
            return session

        return load
