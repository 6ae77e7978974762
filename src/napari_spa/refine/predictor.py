"""The engine behind a session: see an image once, sample masks, group them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit
from torch.nn import functional

from napari_spa.core.candidates import Clusters, cluster_samples
from napari_spa.core.clicks import representative_point
from napari_spa.core.metrics import disagreement
from napari_spa.core.types import (
    BoolArray,
    Candidate,
    Click,
    FloatArray,
    MixtureParameters,
    Prompts,
    Proposal,
)
from napari_spa.errors import SessionError
from napari_spa.model.heads import PreferenceHead, build_head
from napari_spa.refine.config import EngineConfig, Progress, silent
from napari_spa.refine.framing import frame_prompts, widen
from napari_spa.refine.view import Canvas, View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.io.checkpoints import LoadedModel
    from napari_spa.model.spa import ImageEmbedding, PromptEmbedding

_KEPT_EMBEDDINGS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """What a pick of one candidate would carry to the next round.

    Attributes
    ----------
    latents : ndarray of shape (n, D)
        float64, latents of its group.
    logits : ndarray of shape (4h, 4w)
        float32, its mask logits.
    point : Click or None
        Its representative point.
    """

    latents: NDArray[np.float64]
    logits: FloatArray
    point: Click | None


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round: what is shown, and what each pick would mean.

    Attributes
    ----------
    proposal : Proposal
        What is shown.
    feedback : tuple of Feedback
        One for each candidate.
    """

    proposal: Proposal
    feedback: tuple[Feedback, ...]


class SpaPredictor:
    """Encode views of an image and propose masks; keeps embeddings, no per-round state.

    Parameters
    ----------
    model : LoadedModel
        Network, identity and device.
    config : EngineConfig
        Numbers of samples and candidates, head, feedback.
    """

    def __init__(self, model: LoadedModel, config: EngineConfig | None = None) -> None:
        self.model, self.spa = model, model.spa
        self.config = config or EngineConfig()
        self.head: PreferenceHead = build_head(
            self.spa,
            self.config.head or self.spa.config.head,
            start=model.initial_mixture,
            update=self.config.update,
        )
        self._canvas: Canvas | None = None
        self._embeddings: OrderedDict[View, ImageEmbedding] = OrderedDict()

    @property
    def canvas(self) -> Canvas:
        """The image that was set."""
        if self._canvas is None:
            raise SessionError("no image is set; call set_image(image) first.")
        return self._canvas

    @property
    def has_image(self) -> bool:
        """Whether an image is set."""
        return self._canvas is not None

    def set_image(self, image: NDArray[np.generic]) -> None:
        """Take an image; embeddings of the previous one are forgotten.

        Parameters
        ----------
        image : ndarray of shape (H, W) or (H, W, C)
            Any bool, integer or float type.

        Raises
        ------
        InputError
            When the image cannot be used.
        """
        self._canvas = Canvas(image)
        self._embeddings.clear()

    @torch.inference_mode()
    def frame(self, prompts: Prompts, progress: Progress = silent) -> tuple[View, Click | None]:
        """Choose the field of view for a new object's prompts.

        Parameters
        ----------
        prompts : Prompts
            Clicks, box or mask.
        progress : callable
            Reports and may cancel.

        Returns
        -------
        view : View
        anchor : Click or None
            See :class:`napari_spa.core.types.Prompts`.
        """
        height, width = self.canvas.shape
        if self.spa.config.frame == "squash":
            return View(0, 0, height, width), None
        if self.spa.config.frame == "pad":
            return View(0, 0, max(height, width), max(height, width)), None
        progress(0.0, "looking for the object")
        return frame_prompts(
            self.spa,
            self.canvas,
            prompts,
            self.config.framing,
            step=lambda share: progress(0.5 * share, "looking for the object"),
        )

    def widen(self, view: View, prompts: Prompts) -> View:
        """Return a view that holds the latest prompts too; whole-image frames stay."""
        if self.spa.config.frame != "window":
            return view
        return widen(view, prompts, self.canvas.shape)

    @torch.inference_mode()
    def encode(self, view: View, progress: Progress = silent) -> ImageEmbedding:
        """Encode a view once; the latest few are kept.

        Parameters
        ----------
        view : View
            The field of view.
        progress : callable
            Reports and may cancel.

        Returns
        -------
        ImageEmbedding
        """
        if view in self._embeddings:
            self._embeddings.move_to_end(view)
            return self._embeddings[view]
        progress(0.5, "encoding the image")
        pixels = torch.from_numpy(self._pixels(view)).permute(2, 0, 1)[None]
        embedding = self.spa.encode(pixels.to(self.spa.device))
        self._embeddings[view] = embedding
        while len(self._embeddings) > _KEPT_EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return embedding

    @torch.inference_mode()
    def initial_mixture(
        self, view: View, prompts: Prompts, feedback: Feedback | None = None
    ) -> MixtureParameters:
        """Return the mixture before any pick, from the prompts."""
        return self.head.initial(self._embed(view, prompts, feedback))

    @torch.inference_mode()
    def propose(
        self,
        view: View,
        prompts: Prompts,
        mixture: MixtureParameters,
        *,
        number: int,
        seed: int,
        last: Feedback | None = None,
        progress: Progress = silent,
    ) -> Round:
        """Sample N masks from a mixture and group them into a proposal.

        Parameters
        ----------
        view : View
            Field of view.
        prompts : Prompts
            All prompts so far, in image pixels.
        mixture : MixtureParameters
            The preference distribution.
        number : int
            Number of the round, from 1.
        seed : int
            Seed of everything random in this round.
        last : Feedback or None
            The last pick, for the mask branch.
        progress : callable
            Reports and may cancel between chunks of samples.

        Returns
        -------
        Round
        """
        rng = np.random.default_rng(seed)
        image = self.encode(view, progress)
        prompt = self._embed(view, prompts, last)
        draws = self.head.draw(mixture, self.config.samples, rng)
        logits = self.head.decode(
            image, prompt, draws, lambda share: progress(0.6 + 0.3 * share, "sampling masks")
        )
        probabilities: FloatArray = expit(logits)
        progress(0.95, "grouping the samples")
        clusters = cluster_samples(probabilities, self.config.candidates, seed=0)
        proposal, order = self._build(view, logits, probabilities, clusters, number)
        feedback = tuple(
            Feedback(
                draws.latents[self._members(probabilities, clusters, k)],
                logits[clusters.representatives[k]],
                self._point(
                    view, representative_point(probabilities, clusters, k, rng), probabilities
                ),
            )
            for k in order
        )
        return Round(proposal, feedback)

    @torch.inference_mode()
    def refresh(
        self, mixture: MixtureParameters, view: View, prompts: Prompts, last: Feedback | None
    ) -> MixtureParameters:
        """Return the mixture after new prompts; most heads keep what was learnt."""
        return self.head.refresh(mixture, self._embed(view, prompts, last))

    def update(
        self, mixture: MixtureParameters, initial: MixtureParameters, feedback: Feedback
    ) -> MixtureParameters:
        """Return the mixture after a pick."""
        return self.head.update(mixture, initial, feedback.latents, feedback.logits)

    def _members(
        self, probabilities: FloatArray, clusters: Clusters, group: int
    ) -> NDArray[np.int64]:
        """Return the samples that explain a pick: its group's, the nearest ones first."""
        members = np.flatnonzero(clusters.labels == group)
        picked = probabilities[clusters.representatives[group]]
        distance = ((probabilities[members] - picked) ** 2).sum(axis=(1, 2))
        return members[np.argsort(distance, kind="stable")][: self.config.focus]

    def _pixels(self, view: View) -> FloatArray:
        config = self.spa.config
        if config.normalise == "standardise":
            return self.canvas.pixels(view, config.image_size)
        pixels = self.canvas.read(view, config.image_size)
        if config.normalise == "sam":
            pixels = (pixels * 255 - _SAM_MEAN) / _SAM_DEVIATION
        if config.frame == "pad":
            rows = int(np.ceil(self.canvas.shape[0] / view.height * config.image_size))
            columns = int(np.ceil(self.canvas.shape[1] / view.width * config.image_size))
            pixels[rows:], pixels[:, columns:] = 0.0, 0.0
        return pixels.astype(np.float32)

    def _embed(self, view: View, prompts: Prompts, feedback: Feedback | None) -> PromptEmbedding:
        """Bring prompts into the model's pixels and point order, and embed them."""
        size, device = self.spa.config.image_size, self.spa.device
        swap = self.spa.config.point_order == "rc"

        def place(row: float, column: float) -> tuple[float, float]:
            x, y = view.to_model(row, column, size)
            return (y, x) if swap else (x, y)

        points = labels = boxes = mask = None
        if prompts.points:
            points = torch.tensor([[place(c.row, c.column) for c in prompts.points]]).float()
            labels = torch.tensor([[float(c.label) for c in prompts.points]])
            points, labels = points.to(device), labels.to(device)
        if prompts.box is not None:
            box = prompts.box
            corners = (*place(box.row0, box.column0), *place(box.row1, box.column1))
            boxes = torch.tensor([corners]).float().to(device)
        if self.config.feedback_mask and feedback is not None:
            mask = torch.from_numpy(feedback.logits)[None, None].to(device)
        elif prompts.mask is not None:
            mask = self._mask_logits(view, prompts.mask).to(device)
        return self.spa.embed_prompts(points, labels, boxes=boxes, mask_logits=mask)

    def _mask_logits(self, view: View, mask: BoolArray) -> torch.Tensor:
        """Turn a rough mask into the decoder's kind of logits: about +-4, soft at its edge."""
        side = 4 * self.spa.config.grid
        covered = Canvas(mask).read(view, side)[..., 0]
        return torch.from_numpy(8.0 * covered - 4.0)[None, None]

    def _point(
        self, view: View, point: tuple[int, int, int] | None, probabilities: FloatArray
    ) -> Click | None:
        if point is None:
            return None
        row, column = view.to_image(point[1], point[0], probabilities.shape[-1])
        height, width = self.canvas.shape
        return Click(
            float(np.clip(row, 0, height - 1)), float(np.clip(column, 0, width - 1)), point[2]
        )

    def _build(  # the maps at full resolution, and which group each candidate is
        self,
        view: View,
        logits: FloatArray,
        probabilities: FloatArray,
        clusters: Clusters,
        number: int,
    ) -> tuple[Proposal, list[int]]:
        config, shape = self.spa.config, self.canvas.shape
        region = view.region(shape)
        if config.mean_of == "logit":
            mean, threshold = logits.mean(axis=0), config.threshold
            # A threshold on the mean logit is one on its sigmoid: the map stays in [0, 1].
            mean, threshold = expit(mean), float(expit(threshold))
        else:
            mean, threshold = probabilities.mean(axis=0), config.threshold
        maps = np.concatenate([mean[None], probabilities[list(clusters.representatives)]])
        full = resize_to_region(maps.astype(np.float32), view, shape)
        recommended = full[0] > threshold
        offered = [
            Candidate(full[1 + k] > 0.5, recommended, region, shape, weight)
            for k, weight in enumerate(clusters.weights)
        ]
        order = _distinct_by_area(offered)
        proposal = Proposal(
            local_probability=full[0],
            region=region,
            shape=shape,
            threshold=threshold,
            uncertainty=disagreement(probabilities, mean > threshold),
            round=number,
            candidates=tuple(offered[k] for k in order),
        )
        return proposal, order


def _distinct_by_area(candidates: list[Candidate]) -> list[int]:
    """Order candidates by signed area difference; leave out equal masks."""
    order: list[int] = []
    for k in sorted(range(len(candidates)), key=lambda k: int(candidates[k].local_mask.sum())):
        mask = candidates[k].local_mask
        if not any(np.array_equal(mask, candidates[other].local_mask) for other in order):
            order.append(k)
    return order


_SAM_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
_SAM_DEVIATION = np.array([58.395, 57.12, 57.375], dtype=np.float32)


def resize_to_region(maps: FloatArray, view: View, shape: tuple[int, int]) -> FloatArray:
    """Resize probability maps of a view to the image pixels under it (bilinear).

    Parameters
    ----------
    maps : ndarray of shape (K, h, w)
        float32 over the view.
    view : View
        Where they lie.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    ndarray of shape (K, region.height, region.width)
        float32.
    """
    region = view.region(shape)
    rows = (torch.arange(region.height) + region.row + 0.5 - view.row) / view.height * 2 - 1
    columns = (torch.arange(region.width) + region.column + 0.5 - view.column) / view.width * 2 - 1
    y, x = torch.meshgrid(rows.float(), columns.float(), indexing="ij")
    grid = torch.stack([x, y], dim=-1)[None]
    out = functional.grid_sample(
        torch.from_numpy(maps)[None], grid, padding_mode="border", align_corners=False
    )
    result: FloatArray = out[0].numpy()
    return result
