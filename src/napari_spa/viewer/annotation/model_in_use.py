"""The model that proposes, and its session, which is made when it is needed first."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.engine import SessionFactory


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
