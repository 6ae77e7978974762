"""Make the engine behind the dock from what a person has set; slow, for the worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.errors import ProfileError
from napari_spa.refine.session import RefinementSession

if TYPE_CHECKING:
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.viewer.settings import Settings

SessionFactory = Callable[[str], RefinementSession]
"""Makes a session from a model's name or path."""


def make_session(model: str, settings: Settings | None = None) -> RefinementSession:
    """Load a model and return a session for it.

    Parameters
    ----------
    model : str
        Name or path.
    settings : Settings or None
        Device, cache and profile; the defaults without.

    Returns
    -------
    RefinementSession

    Raises
    ------
    SpaError
        When the model, the device or the profile cannot be used.
    """
    from napari_spa.viewer.warm_up import load_torch

    load_torch()
    from napari_spa.io.checkpoints import load_model
    from napari_spa.io.embedding_cache import EmbeddingCache, default_folder
    from napari_spa.viewer.settings import Settings

    settings = settings or Settings()
    loaded = load_model(model, device=settings.device)
    folder = default_folder() if settings.cache_on_disk else None
    cache = EmbeddingCache(folder, disk_bytes=int(settings.cache_gigabytes * 1e9))
    return RefinementSession(loaded, _profile(settings.profile), cache=cache)


def _profile(path: str) -> PreferenceProfile | None:
    """Load the profile that a person has set; a missing one is no reason not to work."""
    if not path:
        return None
    from napari_spa.io.profiles import PreferenceProfile

    if not Path(path).exists():
        raise ProfileError(f"the profile {path} is gone; choose another in the preferences.")
    return PreferenceProfile.load(path)
