"""The model behind a batch: loaded once in a process, used for one image after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_spa.refine.log.replay import logged_plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_spa.batch.task import BatchRecipe
    from napari_spa.core.plane import Plane
    from napari_spa.io.models.identity import ModelIdentity
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.io.profiles.profile import PreferenceProfile
    from napari_spa.refine.session.session import RefinementSession


class BatchEngine:
    """Model, profile and session of a batch; for one thread at a time."""

    def __init__(self, recipe: BatchRecipe, model: LoadedModel | None = None) -> None:
        from napari_spa.io.models.load import load_model
        from napari_spa.io.profiles.profile import PreferenceProfile
        from napari_spa.refine.session.session import RefinementSession

        self.recipe = recipe
        self.model = model or load_model(recipe.model, device=recipe.device)
        self.profile: PreferenceProfile | None = None
        if recipe.profile is not None:
            self.profile = PreferenceProfile.load(recipe.profile)
        self.session: RefinementSession = RefinementSession(
            self.model, self.profile, seed=recipe.seed
        )

    @property
    def identity(self) -> ModelIdentity:
        """Which weights it computes with."""
        return self.model.identity

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    def show(
        self, levels: Sequence[Any], plane: Plane, pixel_size: float | None = None
    ) -> dict[str, Any]:
        """Set a plane as the session's image, looked at as its replay will."""
        look: dict[str, Any] = {"channels": _colours(levels[0], plane), "axis": None}
        self.session.set_image(logged_plane(levels, plane, look), pixel_size=pixel_size)
        canvas = self.session.canvas
        look["limits"] = canvas.intensity.logged
        return {"image": canvas.fingerprint, "look": look}


def _colours(array: Any, plane: Plane) -> tuple[int, ...] | None:  # noqa: ANN401  any array
    """Return the colours that count: an alpha channel does not."""
    coloured = len(array.shape) > len(plane.index) and array.shape[-1] > 2
    return (0, 1, 2) if coloured else None
