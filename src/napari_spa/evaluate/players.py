"""How methods play: our own session, SAM with clicks or a box, and networks that were trained."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

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
from napari_spa.refine.session.prompt_validation import check_prompts
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_spa.evaluate.methods import MethodContext
    from napari_spa.io.models.load import LoadedModel
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
        """Take an image; methods of one engine share its embedding and first rounds."""
        engine = self._engine(context.engine)
        model = self.model or context.model
        key = "session", model.identity.sha256, repr(engine), self.plain
        stage = context.shared.get(key)
        if not isinstance(stage, _Stage):
            start = _standard(model.config.latent_dim) if self.plain else None
            session = RefinementSession(model, seed=context.seed, config=engine)
            stage = context.shared[key] = _Stage(session, image, start)
        return SpaSegmenter(stage, adapt=self.adapt)

    def _engine(self, engine: EngineConfig) -> EngineConfig:
        update = engine.update
        if "weights" not in self.learns:
            update = replace(update, weight_strength=_FIXED)
        if "gaussians" not in self.learns:
            update = replace(update, mean_strength=_FIXED, variance_strength=_FIXED)
        samples = self.samples or engine.samples
        return replace(engine, head=self.head, update=update, samples=samples)


class _Stage:
    """A session on an image; the first round of a click is computed once."""

    def __init__(
        self,
        session: RefinementSession,
        image: NDArray[np.generic],
        start: MixtureParameters | None,
    ) -> None:
        self.session, self._image, self._start = session, image, start
        self._prompts: tuple[Click, Box | None] | None = None
        self._seconds = 0.0

    def first_round(self, click: Click, box: Box | None) -> Observation:
        session = self.session
        if (click, box) != self._prompts:
            session.set_image(self._image)  # again, so no target's seeds depend on another's
            points, labels = [(click.row, click.column)], [click.label]
            edges = _edges(box) if box is not None else None
            prompts = check_prompts(points, labels, edges, None, session.sampler.shape)
            session.start_with(prompts, mixture=self._start)
            self._prompts, self._seconds = (click, box), sum(session.seconds.values())
        while session.can_undo:
            session.undo()
        if session.proposal is None:
            raise RuntimeError("a started session has a proposal")
        return _shown(session.proposal, self._seconds)


class SpaSegmenter:
    """Play with a session."""

    def __init__(self, stage: _Stage, *, adapt: bool) -> None:
        self._stage, self._adapt = stage, adapt

    @property
    def session(self) -> RefinementSession:
        """The session, as the last act left it."""
        return self._stage.session

    def start(self, click: Click, box: Box | None) -> Observation:
        """Start an object from a click, and from a box where the user draws one."""
        self.session.adapt = self._adapt
        return self._stage.first_round(click, box)

    def act(self, act: Action) -> Observation:
        """Pick a candidate, click, or draw the box again."""
        session = self.session
        if isinstance(act, Pick):
            proposal = session.pick(act.index)
        elif isinstance(act, Click):
            proposal = session.click((act.row, act.column), act.label)
        else:
            proposal = session.box(_edges(act))
        return _shown(proposal, sum(session.seconds.values()))


def _edges(box: Box) -> tuple[float, float, float, float]:
    return box.row0, box.column0, box.row1, box.column1


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
        self._view: FieldOfView | None = None
        self._logits: FloatArray | None = None

    def start(self, click: Click, box: Box | None) -> Observation:
        """Choose the field of view from the click or the box, and answer."""
        begun = time.perf_counter()
        if self._by_box and box is None:
            raise InputError("this method is started with a box.")
        self._prompts = Prompts(box=box) if self._by_box else Prompts(clicks=(click,))
        self._view = self._predictor.frame(self._prompts).view
        self._logits = None
        return self._answer(begun)

    def act(self, act: Action) -> Observation:
        """Add a click, or take another box in place of the last."""
        begun = time.perf_counter()
        if isinstance(act, Box) and self._by_box:
            self._prompts = Prompts(box=act)
        elif isinstance(act, Click) and not self._by_box:
            self._prompts = replace(self._prompts, clicks=(*self._prompts.clicks, act))
        else:
            raise InputError(f"this method takes {'boxes' if self._by_box else 'clicks'} only.")
        if self._view is None:
            raise RuntimeError("a started method has a view")
        self._view = self._predictor.widen(self._view, self._prompts)
        return self._answer(begun)

    def _answer(self, begun: float) -> Observation:
        from scipy.special import expit

        from napari_spa.refine.engine.proposal import resize_to_region

        if self._view is None:
            raise RuntimeError("a started method has a view")
        shape = self._predictor.sampler.shape
        logits = np.stack([self._decode(prompts) for prompts in self._asked()])
        self._logits = None if self._by_box else logits[0]
        maps = expit(logits)
        mean = resize_to_region(maps.mean(axis=0, keepdims=True), self._view, shape)[0]
        mask = np.zeros(shape, bool)
        mask[self._view.region(shape).slices] = mean > 0.5
        doubt = float(np.std(maps, axis=0).mean()) if len(maps) > 1 else float("nan")
        return Observation(mask, (), doubt, time.perf_counter() - begun)

    def _asked(self) -> list[Prompts]:
        box = self._prompts.box
        if box is None:
            return [self._prompts]
        edges = np.array([box.row0, box.column0, box.row1, box.column1])
        extent = np.tile(edges[2:] - edges[:2], 2)
        moved = edges + self._offsets * extent
        return [Prompts(box=Box(*(float(edge) for edge in each))) for each in moved]

    def _decode(self, prompts: Prompts) -> FloatArray:
        """Return mask logits: the best token for a lone click, else the single mask."""
        import torch

        from napari_spa.refine.engine.embedder import embed_prompts

        predictor, view = self._predictor, self._view
        if view is None:
            raise RuntimeError("a started method has a view")
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

        from napari_spa.core.transforms import to_unit_rgb
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


def whole_image(name: str, context: MethodContext) -> WholeImageMethod:
    """Load a trained network that segments whole images."""
    from napari_spa.train.baselines import load_baseline, trained_facts

    run = context.run_of(name)
    network = load_baseline(run)
    return WholeImageMethod(network.to(context.model.device), trained_facts(run))  # type: ignore[arg-type]


def prompted(name: str, context: MethodContext) -> PromptedMethod:
    """Load a method of the SAM family: a real file where one is given, else our backbone."""
    facts: dict[str, object] = {}
    by_box = name in ("medsam-box", "sam-u-v1", "sam-u-v2")
    if name in ("sam-click", "sam-u-v1"):
        model = _published(context, context.sam)
    elif name == "msa-click" or context.medsam is None:
        trained = "medsam-box" if name == "sam-u-v2" else name
        model, facts = tuned(trained, context)
    else:
        model = _published(context, context.medsam)
    facts = {"model": model.identity.name, "model_sha256": model.identity.sha256} | facts
    currencies: frozenset[Currency] = frozenset({"box"}) if by_box else frozenset({"click"})
    return PromptedMethod(model, facts, currencies, _BOXES if name.startswith("sam-u") else 1)


def _published(context: MethodContext, path: str | None) -> LoadedModel:
    from napari_spa.io.models.load import load_model

    return context.model if path is None else load_model(path, device=str(context.model.device))


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
