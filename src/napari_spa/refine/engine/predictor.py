"""The engine behind a session: see an image once, sample masks, group them."""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, softmax

from napari_spa.core.types import Click, FloatArray, LocalMask, MixtureParameters, Prompts, Proposal
from napari_spa.errors import SessionError
from napari_spa.io.embeddings import EmbeddingCache, embedding_key
from napari_spa.model.device import computing
from napari_spa.model.heads import Decoded, Draws, PreferenceHead, build_head
from napari_spa.refine.engine.alternatives import (
    Alternatives,
    Framed,
    Hypothesis,
    covering,
    framed_from_arrays,
    framed_to_arrays,
    grouped,
    thickest,
    weighed,
)
from napari_spa.refine.engine.config import EngineConfig, Progress, silent
from napari_spa.refine.engine.embedder import Embedder, Windows, embed_prompts
from napari_spa.refine.engine.framing import Search, frame_prompts, look_around, outline_in, turn_to
from napari_spa.refine.engine.image_plane import ImagePlane
from napari_spa.refine.engine.predictions import cuts, predictions_in, standing
from napari_spa.refine.engine.round import (
    Asked,
    Feedback,
    Round,
    appraised,
    build_proposal,
    feedback_of,
    signs_of,
)
from napari_spa.refine.engine.samples import SIZE_REACH, Lead, Reach, Samples, prompt_likelihood
from napari_spa.refine.engine.view import FieldOfView, ImageSampler, fits, view_around, widen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_spa.core.mixture import SizePrior
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.model.spa import ImageEmbedding, PromptEmbedding

_CROP = 1024.0  # side of the window of a huge image that a model gets which else sees whole images
_HOVER_MARGIN = 0.15
"""How far from the edge of a window a place has to be to be seen well, as a share of its side."""
_HELD = 0.5  # probability above which a mask holds a click
_TRUSTED = 0.5  # a predicted IoU from which on the network is taken to see what a click means


class SpaPredictor:
    """Encode views of an image and propose masks; keeps embeddings, no per-round state."""

    def __init__(
        self,
        model: LoadedModel,
        config: EngineConfig | None = None,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self.model, self.spa = model, model.spa
        self.config = config or EngineConfig()
        self.cache = cache
        self.head: PreferenceHead = build_head(
            self.spa,
            self.config.head or self.spa.config.head,
            start=model.initial_mixture,
            update=self.config.update,
            reuse=self.config.reuse,
        )
        self._channel = self.head.size_channel
        # Another head answers otherwise: what its signs mean was not measured.
        own = self.config.head in (None, self.spa.config.head)
        self._calibration = model.calibration if own else None
        self._canvas: ImageSampler | None = None
        self._embedder = Embedder(model, cache)
        self._latest: tuple[Asked, Decoded, tuple[Hypothesis, ...], Lead | None] | None = None
        self._ahead: tuple[Click, SizePrior | None, Framed] | None = None  # not asked for yet

    @property
    def sampler(self) -> ImageSampler:
        """The image that was set."""
        if self._canvas is None:
            raise SessionError("no image is set; call set_image(image) first.")
        return self._canvas

    @property
    def has_image(self) -> bool:
        """Whether an image is set."""
        return self._canvas is not None

    def set_image(self, image: ArrayLike | ImagePlane) -> bool:
        """Take an image, (H, W) or (H, W, C), and tell whether it is the one that was set.

        What was encoded of it is kept then.  ``InputError`` where it cannot be used.
        """
        image_plane = ImagePlane.of(image)
        if image_plane.small:
            image_plane = image_plane.loaded()
        known = image_plane.small or isinstance(image, ImagePlane)  # else it may be written to
        if known and self._canvas is not None and self._canvas.shows(image_plane):
            return True
        canvas = ImageSampler(image_plane)
        canvas.fingerprint  # noqa: B018  of the pixels as they are now, which may be written to
        self._canvas = canvas
        self._embedder.forget()
        self._latest = self._ahead = None
        return False

    @computing
    def frame(
        self, prompts: Prompts, progress: Progress = silent, expected: SizePrior | None = None
    ) -> Framed:
        """Choose the field of view for a new object's prompts, and of the size that is expected."""
        whole = self.whole_view(self.sampler, prompts)
        if whole is not None:
            return Framed(whole)
        alone = prompts.box is None and prompts.mask is None and not prompts.strokes
        if alone and self._ahead is not None and (*prompts.clicks, expected) == self._ahead[:2]:
            return self._ahead[2]
        progress(0.0, "looking for the object")
        key = self._frame_key(prompts, expected)
        known = None if self.cache is None else self.cache.get(key)
        if known is not None:
            return framed_from_arrays(known)
        framed = frame_prompts(
            self._search,
            prompts,
            expected,
            lambda share: progress(0.5 * share, "looking for the object"),
        )
        if self.cache is not None:
            self.cache.put(key, framed_to_arrays(framed))
        return framed

    @computing
    def turn_to(self, other: Hypothesis, prompts: Prompts) -> tuple[FieldOfView, Prompts]:
        """Return the field of view of another object, and the prompts that mean it there."""
        if self.spa.config.rules.frame != "window":
            middle = thickest(other.mask, other.view, self.sampler.shape)
            return other.view, replace(prompts, anchor=middle)
        view, anchor = turn_to(self._search, other, prompts)
        return view, replace(prompts, anchor=anchor)

    @computing
    def reconsider(
        self, view: FieldOfView, prompts: Prompts, latest: Sequence[Click], reach: Reach
    ) -> Framed | None:
        """Choose the field of view again after more was said, where the present one is a trap.

        It is one if the box does not fit it, if nothing that is seen in it says what the
        ``latest`` clicks do (none when the box was added), or if its edge cuts the object that
        they mean.  None where the present view serves, or nothing better is found.
        """
        if self.spa.config.rules.frame != "window":
            return None
        if not latest:
            box = prompts.box
            trapped = box is not None and not fits(view, box, self.sampler.shape)
            return self.frame(prompts) if trapped else None
        if prompts.box is not None or prompts.mask is not None:
            return None  # these set the view, which is widened for clicks
        shape, held = self.sampler.shape, self.widen(view, prompts)
        here = predictions_in(self.spa, self._see, [held], prompts)
        reached = all(reach.allows(click) for click in latest)
        answers = [
            seen
            for seen in here
            if reached or (seen.quality >= _TRUSTED and all(map(seen.agrees, latest)))
        ]
        if answers and not answers[0].is_cut(shape):
            return None
        framed = self.frame(prompts)
        there = predictions_in(self.spa, self._see, [self.widen(framed.view, prompts)], prompts)
        return framed if standing(there, prompts, shape) > standing(here, prompts, shape) else None

    def step_back(self, view: FieldOfView, mask: LocalMask) -> FieldOfView | None:
        """Return a wider view where the present one's edge cuts a mask; None where it does not."""
        windows = self.spa.config.rules.frame == "window"
        if not windows or not cuts(view, mask, self.sampler.shape):
            return None
        wider = self.view_of(mask, context=self.config.framing.context, smallest=view.height)
        return wider if wider != view else None

    def whole_view(self, sampler: ImageSampler, prompts: Prompts) -> FieldOfView | None:
        """Return the view of a model that sees whole images; None for the others.

        Of an image too large to be read whole it is a window around the first prompt that holds
        the others.
        """
        frame, (height, width) = self.spa.config.rules.frame, sampler.shape
        if frame == "window":
            return None
        if not sampler.image_plane.small:
            prompts = _boxed(prompts)
            row, column = _first_place(prompts)
            crop = FieldOfView.around(row + 0.5, column + 0.5, _CROP).inside(sampler.shape)
            return widen(crop, prompts, sampler.shape)
        if frame == "squash":
            return FieldOfView(0, 0, height, width)
        return FieldOfView(0, 0, max(height, width), max(height, width))

    def view_of(self, mask: LocalMask, *, context: float, smallest: float) -> FieldOfView:
        """Return the field of view of a mask; see :meth:`RefinementSession.view_of`."""
        whole = self.whole_view(self.sampler, Prompts(mask=mask))
        if whole is not None:
            return whole
        return view_around(self.sampler, mask.region, context=context, smallest=smallest)

    def fit(self, view: FieldOfView) -> FieldOfView:
        """Return a view moved into the image and not larger than may be read, where it is not."""
        side = float(np.clip(max(view.height, view.width), 8.0, 1.5 * self.sampler.largest_view))
        if side != view.height or side != view.width:
            view = FieldOfView.around(*view.centre, side)
        return view.inside(self.sampler.shape)

    def given(self, view: FieldOfView, prompts: Prompts) -> FieldOfView:
        """Return a view that was asked for in the image, and holding the prompts."""
        windows = self.spa.config.rules.frame == "window"
        return self.widen(self.fit(view), prompts) if windows else view

    def widen(self, view: FieldOfView, prompts: Prompts) -> FieldOfView:
        """Return a view that holds the latest prompts too; frames of all of the image stay."""
        if self.spa.config.rules.frame != "window" and self.sampler.image_plane.small:
            return view
        return widen(view, prompts, self.sampler.shape)

    @computing
    def encode(self, view: FieldOfView, progress: Progress = silent) -> ImageEmbedding:
        """Encode a view once; the latest few are kept."""
        known = self._embedder.recall(view)
        if known is not None:
            return known
        progress(0.5, "encoding the image")
        return self._embedder.encode(self.sampler, view)

    @computing
    def outline_at(
        self, click: Click, expected: SizePrior | None = None
    ) -> tuple[NDArray[np.float64], ...]:
        """Return roughly what a click would start; see :meth:`RefinementSession.outline_at`."""
        margin = _HOVER_MARGIN if self.spa.config.rules.frame == "window" else 0.0
        windows = self._embedder.around(click.row, click.column, margin)
        if windows is None:
            return ()
        return outline_in(self.spa, windows, click, self.config.framing, expected)

    @computing
    def look_ahead(
        self, click: Click, expected: SizePrior | None = None, progress: Progress = silent
    ) -> Framed | None:
        """Choose the field of view of a click that may come; ``progress`` may cancel."""
        if self.spa.config.rules.frame != "window":
            return None  # a click would have to wait too long for a whole image

        def see(views: Sequence[FieldOfView]) -> Windows:
            for view in views:  # one by one: a click that comes meanwhile does not wait for all
                progress(0.0, "looking ahead")
                self._see([view])
            return self._see(views)

        framed = frame_prompts(replace(self._search, see=see), Prompts((click,)), expected)
        self._ahead = click, expected, framed
        return framed

    @computing
    def prefetch(self, image: ArrayLike | ImagePlane, view: FieldOfView | None) -> None:
        """Put the embedding of another image's view into the cache, where there is one."""
        windows = self.spa.config.rules.frame == "window"
        if self.cache is None or (windows and view is None):
            return
        sampler = ImageSampler(image)
        if not windows:  # of a large image it depends on the click to come
            first = Prompts((Click(0, 0),))
            view = self.whole_view(sampler, first) if sampler.image_plane.small else None
        if view is not None:
            self._embedder.prefetch(sampler, view)

    @computing
    def initial_mixture(self, view: FieldOfView, prompts: Prompts) -> MixtureParameters:
        """Return the mixture before any pick, from the prompts."""
        return self.head.initial(self._embed(view, prompts))

    @computing
    def propose(self, asked: Asked, progress: Progress = silent) -> Round:
        """Sample N masks from a mixture and choose what is offered; ``progress`` may cancel."""
        rng = np.random.default_rng(asked.seed)
        draws = self.head.draw(asked.mixture, self.config.samples, rng)
        decoded, found, lead = self._decode(asked, draws, progress)
        probabilities: FloatArray = expit(decoded.logits)
        progress(0.95, "grouping the samples")
        evidence = asked.said.evidence.within(self.sampler.shape)
        said = replace(asked.said, evidence=evidence)
        asked = replace(asked, said=said)
        likely = said.log_likelihood(probabilities, asked.view)
        shares = softmax(likely)
        samples = Samples(
            asked.view, decoded.logits, probabilities, shares, decoded.quality, decoded.spread, lead
        )
        place = 0.0 if self._channel is None else float(shares @ draws.latents[:, self._channel])
        shift = 0.0 if asked.size is None else asked.size * SIZE_REACH - place
        stay = asked.stay
        if stay is not None and stay.size is not None:
            ratio = self._growth(samples, stay.size * SIZE_REACH - place, shift)
            asked = replace(asked, stay=stay.grown(ratio, self.sampler.shape))
        if shift:
            samples = samples.grown(shift)
            draws = self._moved_draws(draws, shift)
        others = weighed((*asked.hypotheses, *found), likely, said, self.config)
        proposal, order = build_proposal(
            samples,
            alternatives := self._alternatives(samples, others),
            asked,
            config=self.spa.config,
            shape=self.sampler.shape,
            guide=self.sampler.read,
        )
        signs = signs_of(samples, others, evidence, self.spa.config, self.sampler.shape)
        signs |= {"clicks": math.log1p(asked.corrections), "picks": math.log1p(asked.picks)}
        size = float(np.clip((place + shift) / SIZE_REACH, -1.0, 1.0))
        proposal = replace(appraised(proposal, signs, self._calibration), size=size)
        feedback = feedback_of(
            samples,
            draws,
            alternatives,
            order,
            size_channel=self._channel,
            shape=self.sampler.shape,
            rng=rng,
        )
        kept = samples if asked.number == 1 else None
        return Round(proposal, feedback, samples.reach, shift, kept)

    def _decode(
        self, asked: Asked, draws: Draws, progress: Progress
    ) -> tuple[Decoded, tuple[Hypothesis, ...], Lead | None]:
        """Decode what was drawn, ask for a first click's mask, and look around the latest pick.

        The latest round is kept, as only its size may change.
        """
        if self._latest is not None and self._latest[0].samples_as(asked):
            return self._latest[1:]
        image = self.encode(asked.view, progress)
        choices, picked = asked.said.choices, None
        if choices:
            picked = choices[-1].picked.logits_over(asked.view, 4 * self.spa.config.grid)
        prompt = embed_prompts(self.spa, self.sampler.shape, asked.view, asked.prompts, picked)
        decoded = self.head.decode(
            image, prompt, draws, lambda share: progress(0.6 + 0.3 * share, "sampling masks")
        )
        found: tuple[Hypothesis, ...] = ()
        if choices and asked.said.clicks and self.spa.config.rules.frame == "window":
            own = replace(asked.prompts, clicks=asked.said.clicks)
            found = look_around(self._search, choices[-1].picked, own)
        lead = self._answer(asked, image, prompt) if picked is None else self._led(asked, picked)
        self._latest = asked, decoded, found, lead
        return decoded, found, lead

    def _answer(self, asked: Asked, image: ImageEmbedding, prompt: PromptEmbedding) -> Lead | None:
        """Ask the network itself what a lone click means; None where more was said.

        Of its masks, a part, the thing and the whole, the one that it trusts most counts, moved
        by as much as a profile moves the samples.
        """
        said, prompts = asked.said, asked.prompts
        lone = len(said.clicks) == 1 and not asked.picks
        lone = lone and prompts.box is None and prompts.mask is None
        if not lone or not self.weighs_choices or not self.config.answer:
            return None
        tokens = range(1, 1 + self.spa.config.multimask_outputs)
        masks, trust = self.spa.decode(image, prompt, None, tokens=tokens)
        every: FloatArray = masks[0].float().cpu().numpy()
        likely = np.exp(said.log_likelihood(expit(every), asked.view))
        best = int(np.argmax(likely * trust[0].float().cpu().numpy()))
        if likely[best] <= _HELD:
            return None  # none of them holds the click
        logits = every[best]
        initial, now = self.head.initial(prompt), asked.mixture
        if not np.allclose(initial.weights @ initial.means, now.weights @ now.means):
            before, after = (self._middle(image, prompt, m) for m in (initial, now))
            logits = logits + after - before
        return Lead(logits, self.config.answer)

    def _growth(self, samples: Samples, before: float, after: float) -> float:
        """Return how much larger one shift of the boundaries makes the mean than another."""
        areas = []
        for shift in (before, after):
            mean, threshold = samples.grown(shift).mean(self.spa.config)
            areas.append(max(1, int((mean > threshold).sum())))
        return areas[1] / areas[0]

    def _led(self, asked: Asked, logits: FloatArray) -> Lead | None:
        """Let the mask that was picked last lead, as far as the prompts do not speak against it."""
        said, view = asked.said, asked.view
        likely = prompt_likelihood(expit(logits)[None], view, said.clicks, said.evidence.box)
        share = self.config.picked * float(np.exp(likely[0]))
        return Lead(logits, share) if share else None

    def _middle(
        self, image: ImageEmbedding, prompt: PromptEmbedding, mixture: MixtureParameters
    ) -> FloatArray:
        """Return the logits (4h, 4w) of a mixture's mean."""
        mean = Draws((mixture.weights @ mixture.means)[None], np.zeros(1, dtype=np.int64))
        logits: FloatArray = self.head.decode(image, prompt, mean, lambda share: None).logits[0]
        return logits

    def _moved_draws(self, draws: Draws, shift: float) -> Draws:
        if self._channel is None:
            return draws
        latents = draws.latents.copy()
        latents[:, self._channel] += shift
        return replace(draws, latents=latents)

    @property
    def weighs_choices(self) -> bool:
        """Whether a pick says more than its latents; the paper's method takes these alone."""
        return self.config.alternatives == "cover" and self.spa.config.convention != "paper"

    def trusts(self, shown: Proposal) -> bool:
        """Whether what is shown is expected to be right, so that a correction is a local one."""
        return shown.calibrated and shown.quality >= self.config.trusted

    @property
    def has_size(self) -> bool:
        """Whether the mixture itself holds the size."""
        return self._channel is not None

    def moved(self, mixture: MixtureParameters, shift: float) -> MixtureParameters:
        """Return a mixture whose boundaries lie further out, where it holds the size."""
        if self._channel is None or not shift:
            return mixture
        means = mixture.means.copy()
        means[:, self._channel] += shift
        return replace(mixture, means=means)

    def placed(
        self, mixture: MixtureParameters, start: MixtureParameters, by: float
    ) -> MixtureParameters:
        """Return a mixture whose boundaries lie ``by`` further out than another's."""
        if self._channel is None:
            return mixture
        there, here = (m.weights @ m.means[:, self._channel] for m in (start, mixture))
        return self.moved(mixture, float(there + by - here))

    def _alternatives(
        self, samples: Samples, others: Sequence[tuple[Hypothesis, float]]
    ) -> Alternatives:
        if not self.weighs_choices:
            return grouped(samples, self.config)
        mean, threshold = samples.mean(self.spa.config)
        return covering(samples, mean > threshold, others, self.config)

    @computing
    def refresh(
        self, mixture: MixtureParameters, view: FieldOfView, prompts: Prompts
    ) -> MixtureParameters:
        """Return the mixture after new prompts; most heads keep what was learnt."""
        return self.head.refresh(mixture, self._embed(view, prompts))

    def update(
        self, mixture: MixtureParameters, initial: MixtureParameters, feedback: Feedback
    ) -> MixtureParameters:
        """Return the mixture after a pick."""
        return self.head.update(mixture, initial, feedback.latents, feedback.logits)

    def _see(self, views: Sequence[FieldOfView]) -> Windows:
        return self._embedder.windows(self.sampler, views)

    @property
    def _search(self) -> Search:
        return Search(self.spa, self.sampler, self._see, self.config.framing)

    def _frame_key(self, prompts: Prompts, expected: SizePrior | None) -> str:
        """Key what a field of view depends on: plane, grey values, prompts, weights, memory."""
        sampler = self.sampler
        clicks = [(c.row, c.column, c.label) for c in prompts.clicks]
        box, mask = prompts.box, prompts.mask
        edges = () if box is None else box.edges
        rough = () if mask is None else astuple(mask.region)
        kind = f"framed {sampler.fingerprint} {sampler.intensity} {self.config.framing} {expected}"
        drawn = [place for stroke in prompts.strokes for place in stroke.path]
        arrays = (np.array(part, dtype=np.float64) for part in (clicks, edges, rough, drawn))
        return embedding_key(kind, self.model.identity.sha256, *arrays)

    def _embed(self, view: FieldOfView, prompts: Prompts) -> PromptEmbedding:
        return embed_prompts(self.spa, self.sampler.shape, view, prompts)


def _boxed(prompts: Prompts) -> Prompts:
    """Return prompts with the box of their mask where none was drawn."""
    if prompts.box is not None or prompts.mask is None:
        return prompts
    return replace(prompts, box=prompts.mask.region.box)


def _first_place(prompts: Prompts) -> tuple[float, float]:
    """Return (row, column) of what a user pointed at first."""
    if prompts.clicks:
        return prompts.clicks[0].row, prompts.clicks[0].column
    if prompts.box is None:
        raise SessionError("nothing to look at; give a point, a box or a mask.")
    (top, left), (bottom, right) = prompts.box.corners
    return (top + bottom) / 2, (left + right) / 2
