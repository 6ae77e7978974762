"""The ways of segmenting that are compared: ours, its ablations, and its baselines.

A method is a small class with ``currencies`` and ``open`` (see
:class:`Method`).  To compare another one, give
:func:`napari_spa.evaluate.protocol.evaluate` a mapping that holds its entry next to those
of :data:`METHODS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from napari_spa.errors import InputError
from napari_spa.evaluate.players import SpaMethod, prompted, tuned, whole_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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

    def act(self, act: Action) -> Observation:
        """Go on after what the user did."""


class Method(Protocol):
    """A way of segmenting with a user."""

    @property
    def currencies(self) -> frozenset[Currency]:
        """The acts that it takes."""

    @property
    def facts(self) -> Mapping[str, object]:
        """What decides its masks besides the bench, and what it cost to train."""

    def open(self, image: NDArray[np.generic], context: MethodContext) -> Segmenter:
        """Take an image; one segmenter plays its games one after another."""


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

    def run_of(self, name: str) -> Path:
        """Return where a trained method is."""
        if self.runs is None or not (self.runs / name).is_dir():
            where = "RUNS" if self.runs is None else str(self.runs)
            raise InputError(
                f"{name} is not trained; run: napari-spa train DATA --methods {name} -o {where}, "
                f"then evaluate with --runs {where}."
            )
        return self.runs / name

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


def _ours(
    name: str, about: str, method: SpaMethod, *, user: str = "picks", family: Family = "spa"
) -> MethodEntry:
    return MethodEntry(name, about, family, user, partial(_session, method))


def _session(method: SpaMethod, context: MethodContext, run: str = "spa") -> SpaMethod:
    """Play with the model that was trained further on the data set, where one was."""
    if context.runs is None or not (context.runs / run).is_dir():
        return method
    model, facts = context.once(run, partial(tuned, run, context))
    return replace(method, model=model, facts=facts)


def _prompted(name: str, about: str, user: str, *, trains: bool = False) -> MethodEntry:
    build = partial(prompted, name)
    return MethodEntry(name, about, "interactive", user, build, trains)


def _whole(name: str, about: str, family: Family) -> MethodEntry:
    return MethodEntry(name, about, family, "looks", partial(whole_image, name), trains=True)


_ENTRIES = (
    _ours("spa", "ours: picks teach the latent mixture (the paper's head)", SpaMethod()),
    _ours("spa-logit", "ours: the mixture is over the decoder's hypotheses", SpaMethod("logit")),
    _ours("spa-both", "ours: latent and boundary offset in one mixture", SpaMethod("both")),
    _ours("spa-frozen", "as spa, and the mixture never changes", SpaMethod(adapt=False)),
    _ours("spa-random-pick", "as spa, and the user picks blindly", SpaMethod(), user="random"),
    _ours(
        "spa-random-gaussian",
        "Table 3: samples of one standard Gaussian, nothing learnt",
        SpaMethod(plain=True, adapt=False),
        family="ablation",
    ),
    _ours(
        "spa-gaussian",
        "Table 3: means and variances are predicted and follow picks, weights stay",
        SpaMethod(learns=frozenset({"gaussians"})),
        family="ablation",
    ),
    _ours(
        "spa-weights",
        "Table 3: weights follow picks, means and variances stay",
        SpaMethod(learns=frozenset({"weights"})),
        family="ablation",
    ),
    *(
        _ours(
            f"spa-n{count}",
            f"as spa, with {count} samples a round",
            SpaMethod(samples=count),
            family="ablation",
        )
        for count in (24, 36, 48)
    ),
    _prompted("sam-click", "the backbone as SAM is used: corrective clicks", "clicks"),
    _prompted("medsam-box", "the backbone tuned to boxes, as MedSAM is", "boxes", trains=True),
    _prompted("msa-click", "the backbone with trained adapters: clicks", "clicks", trains=True),
    _prompted("sam-u-v1", "SAM-U: several boxes around the user's, averaged; SAM", "boxes"),
    _prompted("sam-u-v2", "SAM-U with the weights of medsam-box", "boxes"),
    _whole("unet", "U-Net on the majority vote", "deterministic"),
    _whole("transunet", "TransUNet on the majority vote", "deterministic"),
    _whole("swinunet", "Swin UNETR on the majority vote", "deterministic"),
    _whole("ensemble-unet", "four U-Nets, averaged", "uncertainty-aware"),
    _whole("probunet", "Probabilistic U-Net, mean of 16 samples", "uncertainty-aware"),
    _whole("ls-unet", "U-Net that is shown one rater at a time", "uncertainty-aware"),
    _whole("mh-unet", "U-Net with a head for each rater", "uncertainty-aware"),
    _whole("mrnet", "MRNet: expertness of raters, and where they disagree", "uncertainty-aware"),
)

METHODS: Mapping[str, MethodEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every method by its name."""


def find_method(name: str, registry: Mapping[str, MethodEntry] = METHODS) -> MethodEntry:
    """Return a method by its name, or by a name such as ``unet@RATER`` and ``spa~RATER``."""
    base = re.split("[@~]", name)[0]
    entry = registry.get(base)
    if entry is None or (base != name and base != "spa" and entry.user != "looks"):
        raise InputError(
            f"unknown method {name or 'none'}; napari-spa evaluate --list-methods names them all."
        )
    if base == name:
        return entry
    build: Callable[[MethodContext], Method] = partial(
        _part if base == "spa" else whole_image, name
    )
    return replace(entry, name=name, build=build)


def _part(name: str, context: MethodContext) -> Method:
    context.run_of(name)  # says how to train it
    return _session(SpaMethod(), context, name)


def training_costs(context: MethodContext, names: Sequence[str]) -> dict[str, Mapping[str, object]]:
    """Return what training cost, for those methods that were trained."""
    entries = [find_method(name) for name in names]
    built = {entry.name: entry.build(context).facts for entry in entries}
    costs: dict[str, Mapping[str, object]] = {}
    known = set()
    for name, facts in built.items():
        if "steps" in facts and facts["sha256"] not in known:  # others share its weights
            known.add(facts["sha256"])
            costs[name] = facts
    return costs
