"""The ways of segmenting that are compared, and how each plays: ours, ablations, baselines.

A method is a small class with ``currencies`` and ``open`` (see
:class:`Method`).  To compare another one, give
:func:`napari_spa.evaluate.protocol.evaluate` a mapping that holds its entry next to those
of :data:`METHODS`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from scipy import ndimage

from napari_spa.core.transforms import to_unit_rgb
from napari_spa.core.types import (
    BoolArray,
    Box,
    Click,
    FloatArray,
    MixtureParameters,
    Prompts,
    Proposal,
)
from napari_spa.errors import InputError
from napari_spa.evaluate.users import Action, Currency, Observation, Pick
from napari_spa.io.models.load import LoadedModel, load_model
from napari_spa.refine.session.prompt_validation import check_prompts
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.refine.engine.config import EngineConfig
    from napari_spa.refine.engine.predictor import SpaPredictor
    from napari_spa.refine.engine.view import FieldOfView
    from napari_spa.train.baselines.networks import WholeImage


_FIXED = 1e9  # pseudo-picks that the present value counts for: a pick does not move it


@dataclass(frozen=True, slots=True)
class SpaMethod:
    """Our session."""

    head: Literal["latent", "logit", "both"] = "latent"  # its preference head
    adapt: bool = True  # whether picks update the preference distribution
    # Which parts of the mixture follow picks: ``"gaussians"`` and ``"weights"``.
    learns: frozenset[str] = frozenset({"gaussians", "weights"})
    # Sample from one standard Gaussian in place of the mixture (paper, Table 3).
    plain: bool = False
    samples: int | None = None  # N; that of the bench by default
    # Trained further on the data set; that of the bench by default.
    model: LoadedModel | None = None
    facts: Mapping[str, object] = field(default_factory=dict)  # what that training cost
    currencies: frozenset[Currency] = frozenset({"pick", "click", "box"})

    def open(self, image: NDArray[np.generic], context: MethodContext) -> SpaSegmenter:
        """Take an image; methods of one engine share a segmenter, which plays for the latest."""
        engine = self._engine(context.engine)
        model = self.model or context.model
        key = "session", model.identity.sha256, repr(engine), self.plain
        if key not in context.shared:
            start = _standard(model.config.latent_dim) if self.plain else None
            session = RefinementSession(model, seed=context.seed, config=engine)
            context.shared[key] = SpaSegmenter(session, image, start)
        segmenter: SpaSegmenter = context.shared[key]
        segmenter.session.adapt = self.adapt
        return segmenter

    def _engine(self, engine: EngineConfig) -> EngineConfig:
        update = engine.update
        if "weights" not in self.learns:
            update = replace(update, weight_strength=_FIXED)
        if "gaussians" not in self.learns:
            update = replace(update, mean_strength=_FIXED, variance_strength=_FIXED)
        samples = self.samples or engine.samples
        return replace(engine, head=self.head, update=update, samples=samples)


class SpaSegmenter:
    """Play with a session on an image; the first round of a click is computed once."""

    def __init__(
        self,
        session: RefinementSession,
        image: NDArray[np.generic],
        mixture: MixtureParameters | None,
    ) -> None:
        self.session, self._image, self._mixture = session, image, mixture
        self._prompts: tuple[Click, Box | None] | None = None
        self._seconds = 0.0

    def start(self, click: Click, box: Box | None) -> Observation:
        """Start an object from a click, and from a box where the user draws one."""
        session = self.session
        if (click, box) != self._prompts:
            session.set_image(self._image)  # again, so no target's seeds depend on another's
            points, labels = [(click.row, click.column)], [click.label]
            edges = None if box is None else box.edges
            prompts = check_prompts(points, labels, edges, None, session.sampler.shape)
            session.start_with(prompts, mixture=self._mixture)
            self._prompts, self._seconds = (click, box), sum(session.seconds.values())
        while session.can_undo:
            session.undo()
        if session.proposal is None:
            raise RuntimeError("a started session has a proposal")
        return _shown(session.proposal, self._seconds)

    def act(self, act: Action) -> Observation:
        """Pick a candidate, click, or draw the box again."""
        session = self.session
        if isinstance(act, Pick):
            proposal = session.pick(act.index)
        elif isinstance(act, Click):
            proposal = session.click((act.row, act.column), act.label)
        else:
            proposal = session.box(act.edges)
        return _shown(proposal, sum(session.seconds.values()))


def _shown(proposal: Proposal, seconds: float) -> Observation:
    masks = tuple(candidate.mask for candidate in proposal.candidates)
    return Observation(proposal.mask, masks, proposal.uncertainty, seconds)


def _standard(dimension: int) -> MixtureParameters:
    """Return one Gaussian of zero mean and unit variance in each channel."""
    if dimension == 0:
        raise InputError("this model has no latent; play spa-logit.")
    one = np.ones((1, dimension))
    return MixtureParameters(np.ones(1), 0 * one, one)


_BOXES = 9  # SAM-U asks with so many boxes
_JITTER = 0.05  # deviation of each of their edges, in extents of the box


@dataclass(frozen=True, slots=True, eq=False)
class PromptedMethod:
    """A promptable network: clicks, or one box or several, and the mask it answers with."""

    model: LoadedModel  # its network; it sees the image in the same field of view as ours would
    facts: Mapping[str, object]  # which weights, and what they cost
    currencies: frozenset[Currency]  # clicks or boxes
    boxes: int = 1  # how many boxes it is asked with; their masks are averaged (SAM-U)

    def open(self, image: NDArray[np.generic], context: MethodContext) -> PromptedSegmenter:
        """Take an image."""
        from napari_spa.refine.engine.predictor import SpaPredictor

        predictor = SpaPredictor(self.model)
        predictor.set_image(image)
        rng = np.random.default_rng([context.seed, 11])
        offsets = rng.normal(0, _JITTER, (self.boxes, 4)) if self.boxes > 1 else np.zeros((1, 4))
        return PromptedSegmenter(predictor, "box" in self.currencies, offsets)


class PromptedSegmenter:
    """Ask a promptable network again and again, with all clicks so far or another box.

    The predictor has its image; ``offsets`` ``(B, 4)`` say by how much the edges of each box that
    is asked with differ from the drawn one, in extents.
    """

    def __init__(self, predictor: SpaPredictor, by_box: bool, offsets: NDArray[np.float64]) -> None:
        self._predictor, self._by_box, self._offsets = predictor, by_box, offsets
        self._prompts = Prompts()
        self._view: FieldOfView  # since the start
        self._logits: FloatArray | None = None

    def start(self, click: Click, box: Box | None) -> Observation:
        """Choose the field of view from the click or the box, and answer."""
        begun = time.perf_counter()
        self._prompts = Prompts(box=box) if self._by_box else Prompts(clicks=(click,))
        self._logits = None
        return self._answer(self._predictor.frame(self._prompts).view, begun)

    def act(self, act: Action) -> Observation:
        """Add a click, or take another box in place of the last."""
        begun = time.perf_counter()
        if isinstance(act, Box):
            self._prompts = Prompts(box=act)
        elif isinstance(act, Click):
            self._prompts = replace(self._prompts, clicks=(*self._prompts.clicks, act))
        return self._answer(self._predictor.widen(self._view, self._prompts), begun)

    def _answer(self, view: FieldOfView, begun: float) -> Observation:
        from scipy.special import expit

        from napari_spa.refine.engine.round import resize_to_region

        self._view, shape = view, self._predictor.sampler.shape
        logits = np.stack([self._decode(view, prompts) for prompts in self._asked()])
        self._logits = None if self._by_box else logits[0]
        maps = expit(logits)
        mean = resize_to_region(maps.mean(axis=0, keepdims=True), view, shape)[0]
        mask = np.zeros(shape, bool)
        mask[view.region(shape).slices] = mean > 0.5
        doubt = float(np.std(maps, axis=0).mean()) if len(maps) > 1 else float("nan")
        return Observation(mask, (), doubt, time.perf_counter() - begun)

    def _asked(self) -> list[Prompts]:
        box = self._prompts.box
        if box is None:
            return [self._prompts]
        edges = np.array(box.edges)
        extent = np.tile(edges[2:] - edges[:2], 2)
        moved = edges + self._offsets * extent
        return [Prompts(box=Box(*(float(edge) for edge in each))) for each in moved]

    def _decode(self, view: FieldOfView, prompts: Prompts) -> FloatArray:
        """Return mask logits: the best token for a lone click, else the single mask."""
        import torch

        from napari_spa.refine.engine.embedder import embed_prompts

        predictor = self._predictor
        with torch.inference_mode():
            spa, image = predictor.spa, predictor.encode(view)
            prompt = embed_prompts(spa, predictor.sampler.shape, view, prompts, self._logits)
            alone = len(prompts.clicks) == 1
            tokens = range(1, 1 + spa.config.multimask_outputs) if alone else (0,)
            logits, quality = spa.decode(image, prompt, tokens=tokens)
            best = int(quality[0].argmax())
            answer: FloatArray = logits[0, best].float().cpu().numpy()
        return answer


@dataclass(frozen=True, slots=True, eq=False)
class WholeImageMethod:
    """A trained network that answers each image with one mask, whatever the user wants."""

    network: WholeImage  # in evaluation mode
    facts: Mapping[str, object]  # which weights, and what they cost
    currencies: frozenset[Currency] = frozenset()

    def open(self, image: NDArray[np.generic], context: MethodContext) -> WholeImageSegmenter:
        """Segment the image."""
        import torch
        from torch.nn import functional

        from napari_spa.train.baselines.loop import normalised, resize

        begun = time.perf_counter()
        size = int(str(self.facts["size"]))
        rgb = torch.from_numpy(np.moveaxis(to_unit_rgb(image), -1, 0)).float()
        pixels = normalised(resize(rgb, size).permute(1, 2, 0).numpy())[None]
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            answer = self.network.predict(pixels.to(device)).float().cpu()[None]
            full = functional.interpolate(answer, size=rgb.shape[1:], mode="bilinear")[0, 0]
        mask: BoolArray = (full > 0.5).numpy()
        return WholeImageSegmenter(mask, time.perf_counter() - begun, single=context.single)


class WholeImageSegmenter:
    """The one answer of a network; ``single``: only what is connected, or nearest, to the click."""

    def __init__(self, mask: BoolArray, seconds: float, *, single: bool) -> None:
        self._mask, self._seconds, self._single = mask, seconds, single

    def start(self, click: Click, box: Box | None) -> Observation:
        """Show the answer."""
        mask = self._mask
        if self._single and mask.any():
            parts, _ = ndimage.label(mask)
            rows, columns = np.nonzero(mask)
            distance = (rows - click.row) ** 2 + (columns - click.column) ** 2
            nearest = int(distance.argmin())
            mask = parts == parts[rows[nearest], columns[nearest]]
        return Observation(np.asarray(mask), (), float("nan"), self._seconds)

    def act(self, act: Action) -> Observation:
        """Refuse: it takes nothing."""
        raise InputError("this method gives one mask and takes neither picks nor clicks.")


def _whole_image(name: str, context: MethodContext) -> WholeImageMethod:
    """Load a trained network that segments whole images."""
    from napari_spa.train.baselines import load_baseline, trained_facts

    run = context.run_of(name)
    network = load_baseline(run)
    return WholeImageMethod(network.to(context.model.device), trained_facts(run))  # type: ignore[arg-type]


def prompted(name: str, context: MethodContext) -> PromptedMethod:
    """Load a method of the SAM family: a real file where one is given, else our backbone."""
    facts: dict[str, object] = {}
    sam, medsam = context.sam, context.medsam
    files = {"sam-click": sam, "sam-u-v1": sam, "medsam-box": medsam, "sam-u-v2": medsam}
    if (path := files.get(name)) is not None:
        model = load_model(path, device=str(context.model.device))
    elif name in ("sam-click", "sam-u-v1"):
        model = context.model
    else:
        model, facts = tuned("medsam-box" if name == "sam-u-v2" else name, context)
    facts = {"model": model.identity.name, "model_sha256": model.identity.sha256} | facts
    currencies: frozenset[Currency] = frozenset({"click" if name.endswith("click") else "box"})
    return PromptedMethod(model, facts, currencies, _BOXES if name.startswith("sam-u") else 1)


def tuned(name: str, context: MethodContext) -> tuple[LoadedModel, dict[str, object]]:
    """Return a copy of the backbone with a run's weights, and what they cost."""
    from copy import deepcopy

    from napari_spa.train.baselines import load_baseline, trained_facts

    run = context.run_of(name)
    model = replace(context.model, spa=deepcopy(context.model.spa))
    load_baseline(run, model)
    facts = trained_facts(run)
    identity = replace(model.identity, name=name, sha256=str(facts["sha256"]))
    model.spa.eval()
    return replace(model, identity=identity), facts


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
    # What methods keep for each other: trained models, and sessions while one image is played.
    shared: dict[object, Any] = field(default_factory=dict)

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
        return replace(self, shared={})


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A method by its name."""

    name: str  # for a user
    about: str  # for a user
    user: str  # the habit of its own user, in its own currency
    # Makes it from a :class:`MethodContext`; raises ``InputError`` when it is not trained.
    build: Callable[[MethodContext], Method]
    trains: bool = False  # whether it must be trained before it can be played


def _ours(name: str, about: str, method: SpaMethod, user: str = "picks") -> MethodEntry:
    return MethodEntry(name, about, user, partial(_session, method))


def _session(method: SpaMethod, context: MethodContext, run: str = "spa") -> SpaMethod:
    """Play with the model that was trained further on the data set, where one was."""
    if context.runs is None or not (context.runs / run).is_dir():
        return method
    if run not in context.shared:
        context.shared[run] = tuned(run, context)
    model, facts = context.shared[run]
    return replace(method, model=model, facts=facts)


def _prompted(name: str, about: str, user: str, *, trains: bool = False) -> MethodEntry:
    return MethodEntry(name, about, user, partial(prompted, name), trains)


def _whole(name: str, about: str) -> MethodEntry:
    return MethodEntry(name, about, "looks", partial(_whole_image, name), trains=True)


_ENTRIES = (
    _ours("spa", "ours: picks teach the latent mixture (the paper's head)", SpaMethod()),
    _ours("spa-logit", "ours: the mixture is over the decoder's hypotheses", SpaMethod("logit")),
    _ours("spa-both", "ours: latent and boundary offset in one mixture", SpaMethod("both")),
    _ours("spa-frozen", "as spa, and the mixture never changes", SpaMethod(adapt=False)),
    _ours("spa-random-pick", "as spa, and the user picks blindly", SpaMethod(), "random"),
    _ours(
        "spa-random-gaussian",
        "Table 3: samples of one standard Gaussian, nothing learnt",
        SpaMethod(plain=True, adapt=False),
    ),
    _ours(
        "spa-gaussian",
        "Table 3: means and variances are predicted and follow picks, weights stay",
        SpaMethod(learns=frozenset({"gaussians"})),
    ),
    _ours(
        "spa-weights",
        "Table 3: weights follow picks, means and variances stay",
        SpaMethod(learns=frozenset({"weights"})),
    ),
    *(
        _ours(f"spa-n{count}", f"as spa, with {count} samples a round", SpaMethod(samples=count))
        for count in (24, 36, 48)
    ),
    _prompted("sam-click", "the backbone as SAM is used: corrective clicks", "clicks"),
    _prompted("medsam-box", "the backbone tuned to boxes, as MedSAM is", "boxes", trains=True),
    _prompted("msa-click", "the backbone with trained adapters: clicks", "clicks", trains=True),
    _prompted("sam-u-v1", "SAM-U: several boxes around the user's, averaged; SAM", "boxes"),
    _prompted("sam-u-v2", "SAM-U with the weights of medsam-box", "boxes"),
    _whole("unet", "U-Net on the majority vote"),
    _whole("transunet", "TransUNet on the majority vote"),
    _whole("swinunet", "Swin UNETR on the majority vote"),
    _whole("ensemble-unet", "four U-Nets, averaged"),
    _whole("probunet", "Probabilistic U-Net, mean of 16 samples"),
    _whole("ls-unet", "U-Net that is shown one rater at a time"),
    _whole("mh-unet", "U-Net with a head for each rater"),
    _whole("mrnet", "MRNet: expertness of raters, and where they disagree"),
)

METHODS: Mapping[str, MethodEntry] = {entry.name: entry for entry in _ENTRIES}
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
        _part if base == "spa" else _whole_image, name
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
