"""What every method of segmenting with a user must offer, and what it may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_spa.core.types import Box, Click
    from napari_spa.evaluate.users import Action, Currency, Observation
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.refine.engine.config import EngineConfig

T = TypeVar("T")
Family = Literal["spa", "ablation", "interactive", "deterministic", "uncertainty-aware"]


class Segmenter(Protocol):
    """One image that is being segmented; knows nothing of the mask in the user's mind."""

    def start(self, click: Click, box: Box | None) -> Observation:
        """Start an object from a click, or from a box where the method takes boxes."""
        ...

    def act(self, act: Action) -> Observation:
        """Go on after what the user did."""
        ...


class Method(Protocol):
    """A way of segmenting with a user."""

    @property
    def currencies(self) -> frozenset[Currency]:
        """The acts that it takes."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """What decides its masks besides the bench, and what it cost to train."""
        ...

    def open(self, image: NDArray[np.generic], context: MethodContext) -> Segmenter:
        """Take an image; one segmenter plays its games one after another."""
        ...


@dataclass(slots=True, eq=False)
class MethodContext:
    """What the methods share: the model, the trained baselines, and an image's embeddings."""

    model: LoadedModel  # the one that is evaluated, and the backbone of the baselines that have one
    engine: EngineConfig  # numbers of samples and candidates, and what a pick carries on
    seed: int = 0  # of sessions
    runs: Path | None = None  # where trained methods are: ``runs/METHOD``
    sam: str | None = None  # files of the real models, for those who have them
    medsam: str | None = None
    # Each connected object is a target of its own; a method that segments whole images keeps what
    # is connected to the click.
    single: bool = False
    # What methods keep for each other while one image is played.
    shared: dict[object, object] = field(default_factory=dict)
    _loaded: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, load: Callable[[], T]) -> T:
        """Return what is loaded once for all methods that share it."""
        if name not in self._loaded:
            self._loaded[name] = load()
        loaded: T = self._loaded[name]
        return loaded

    def fresh(self) -> MethodContext:
        """Return the bench for another image."""
        return MethodContext(
            self.model, self.engine, self.seed, self.runs, self.sam, self.medsam, self.single
        )


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A method by its name."""

    name: str  # for a user
    about: str  # for a user
    family: Family  # its row in the paper's Table 1
    user: str  # the habit of its own user, in its own currency
    # Makes it from a :class:`MethodContext`; raises ``InputError`` when it is not trained.
    build: Callable[[MethodContext], Method]
    trains: bool = False  # whether it must be trained before it can be played


def run_folder(context: MethodContext, name: str) -> Path:
    """Return where a trained method is."""
    if context.runs is None or not (context.runs / name).is_dir():
        where = "RUNS" if context.runs is None else str(context.runs)
        raise InputError(
            f"{name} is not trained; run: napari-spa train DATA --methods {name} -o {where}, "
            f"then evaluate with --runs {where}."
        )
    return context.runs / name
