"""Our own method and its ablations: a refinement session on each image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_spa.core.types import Box, Click, MixtureParameters, Proposal
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
