"""One loop for all baselines: the same split, budget and stopping rule; killed, it goes on.

Every random number comes from the seed and the number of the step or example, so a run
that was killed and started again gives the same curve, for any number of workers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from napari_spa.core.objects import split_objects
from napari_spa.core.transforms import standardise
from napari_spa.datasets import CaseFolder, case_groups
from napari_spa.errors import CheckpointError, DataError, InputError
from napari_spa.io.files import atomic_path, write_csv
from napari_spa.io.models.formats import read_weights_file
from napari_spa.train.data import RatedObject, cut_objects, to_rgb8
from napari_spa.train.loop import TrainConfig, learning_rate_factor

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


_ASIDE = 0.15


class RatedBatch(NamedTuple):
    """Images with the masks of the same R raters."""

    pixels: Tensor  # ``(B, 3, S, S)`` float, standardised
    masks: Tensor  # ``(B, R, S, S)`` float, 0 or 1
    known: Tensor  # ``(B, R)`` float, 1 where the rater marked the image

    def majority(self) -> Tensor:
        """Return what at least half of the raters marked, ``(B, 1, S, S)`` float."""
        return (self.fused(self.known) >= 0.5).float()

    def fused(self, weights: Tensor) -> Tensor:
        """Return the weighted mean of the masks, ``(B, 1, S, S)``; weights ``(B, R)``."""
        share = weights / weights.sum(dim=1, keepdim=True)
        return (share[..., None, None] * self.masks).sum(dim=1, keepdim=True)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One image of the training split."""

    name: str
    pixels: NDArray[np.uint8]  # (S, S, 3)
    masks: NDArray[np.bool_]  # (R, S, S)
    known: NDArray[np.bool_]  # (R,), which raters marked it
    # the same at full resolution, for methods that work in a field of view
    objects: list[RatedObject]


@dataclass(frozen=True, slots=True)
class RatedExamples:
    """The images that a baseline learns from, and those held aside to decide when it stops."""

    raters: tuple[str, ...]
    learnt: tuple[Example, ...]  # no patient (or image) is in both
    aside: tuple[Example, ...]


def read_examples(folder: CaseFolder, config: BaselineConfig) -> RatedExamples:
    """Read a split into memory."""
    only, without = config.only, config.without
    cases = [folder.read(name) for name in folder.names(config.split)]
    raters = sorted({rater for case in cases for rater in case.raters})
    for wanted in (only, without):
        if wanted is not None and wanted not in raters:
            raise DataError(f"no rater {wanted} marked anything; they are {', '.join(raters)}.")
    kept = [rater for rater in raters if rater != without and only in (None, rater)]
    examples = []
    for case in cases:
        marked = dict(zip(case.raters, case.masks, strict=True))
        nothing = np.zeros_like(case.masks[0])
        masks = np.stack([marked.get(rater, nothing) for rater in kept] or [nothing])
        known = np.asarray(masks.any(axis=(1, 2)))
        if not known.any():
            continue
        rgb = to_rgb8(case.image)
        objects = cut_objects(rgb, split_objects(masks) if config.single else [masks])
        examples.append(Example(case.name, *_resized(rgb, masks, config.size), known, objects))
    patients = case_groups(folder, [example.name for example in examples])
    return _divided(tuple(kept), examples, patients, config.seed)


def _divided(
    raters: tuple[str, ...], examples: list[Example], patients: dict[str, str], seed: int
) -> RatedExamples:
    groups = sorted(set(patients.values()))
    if len(groups) < 2:
        raise DataError(
            f"{len(groups)} images are too few to train on: some are held aside to stop in time."
        )
    order = np.random.default_rng([seed, 7]).permutation(len(groups))
    aside = {groups[index] for index in order[: max(1, round(_ASIDE * len(groups)))]}
    return RatedExamples(
        raters,
        tuple(e for e in examples if patients[e.name] not in aside),
        tuple(e for e in examples if patients[e.name] in aside),
    )


def _resized(
    rgb: NDArray[np.uint8], masks: NDArray[np.bool_], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    image = resize(torch.from_numpy(np.moveaxis(rgb, -1, 0)).float(), size)
    shares = resize(torch.from_numpy(masks).float(), size)
    pixels = image.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels, (shares >= 0.5).numpy()


def resize(stack: Tensor, size: int) -> Tensor:
    """Squash ``(K, H, W)`` float into ``(K, S, S)``, averaging what is reduced."""
    return functional.interpolate(
        stack[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]


def draw_example(example: Example, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw an augmented example: mirrored, turned by quarters, brighter or darker."""
    turns, mirrored = int(rng.integers(4)), bool(rng.random() < 0.5)

    def moved(array: NDArray[np.generic], axes: tuple[int, int]) -> NDArray[np.generic]:
        turned = np.rot90(array, turns, axes)
        return np.flip(turned, axes[1]) if mirrored else turned

    pixels = np.ascontiguousarray(moved(example.pixels, (0, 1))).astype(np.float32) / 255
    pixels = pixels ** np.exp(rng.normal(0, 0.25))
    pixels = pixels + rng.normal(0, rng.uniform(0, 0.04), pixels.shape)
    masks = np.ascontiguousarray(moved(example.masks, (1, 2))).astype(np.float32)
    known = torch.from_numpy(example.known.astype(np.float32))
    return normalised(pixels), torch.from_numpy(masks), known


def plain_batch(examples: Sequence[Example]) -> RatedBatch:
    """Return examples as they are."""
    return RatedBatch(
        torch.stack([normalised(e.pixels.astype(np.float32) / 255) for e in examples]),
        torch.from_numpy(np.stack([e.masks for e in examples])).float(),
        torch.from_numpy(np.stack([e.known for e in examples])).float(),
    )


def normalised(pixels: NDArray[np.floating]) -> Tensor:
    """Standardise ``(S, S, 3)`` in [0, 1] as the predictor does, to ``(3, S, S)``."""
    return torch.from_numpy(standardise(pixels.astype(np.float32))).permute(2, 0, 1).contiguous()


Drawn = tuple[Tensor, ...]
Progress = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class BaselineConfig:
    """What is the same for every method that is trained."""

    steps: int = 1200  # the budget; fewer are taken when the score stops rising
    batch: int = 16  # images per step
    learning_rate: float = 1e-3  # adamW's peak rate, for networks that start from nothing
    tuning_rate: float = 3e-4  # the same for those that start from the backbone
    # Steps between two scores on the images held aside, and between checkpoints.
    check_every: int = 100
    patience: int = 5  # training stops after so many scores without a new best
    size: int = 128  # side of the input of networks that segment whole images
    split: str | None = "train"  # which cases; None for all
    only: str | None = None  # learn from one rater alone, or from all but one
    without: str | None = None
    single: bool = False  # each connected object of the masks is one
    # Of the network while it learns; losses and scores are float32.
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0  # of everything random

    def check(self) -> None:
        """Raise ``InputError`` when it is impossible."""
        for name in ("steps", "batch", "check_every", "patience", "size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, not {getattr(self, name)}.")
        if self.size % 64:
            raise InputError(f"size must be a multiple of 64, not {self.size}.")


@dataclass(frozen=True, slots=True)
class Compute:
    """Where a training runs, and who hears of it; nothing in its results depends on it."""

    device: torch.device
    workers: int = 0  # processes that draw examples; 0 for none beside this one
    progress: Progress | None = None  # called with the step and its figures


class Task(Protocol):
    """A network, what it learns from, and how well it does on what was held aside."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    @property
    def rate(self) -> float:
        """The peak learning rate."""

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw one example."""

    def loss(self, batch: Drawn, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch, each part stacked."""

    def score(self) -> float:
        """Return the mean Dice on what was held aside; the same for the same weights."""


class _Examples(Dataset[Drawn]):
    """Example i is drawn from ``(seed, i)`` alone, in any process."""

    def __init__(self, task: Task, seed: int, count: int) -> None:
        self._task, self._seed, self._count = task, seed, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Drawn:
        return self._task.draw(np.random.default_rng([self._seed, index]))


@dataclass(slots=True)
class _State:
    """Where a run stands."""

    step: int = 0
    best_step: int = 0
    best_score: float = -1.0
    seconds: float = 0.0
    curve: list[list[float]] = field(default_factory=list)  # step, loss, score


class BaselineRun:
    """A baseline in training, in a folder of its own."""

    def __init__(
        self,
        task: Task,
        folder: Path,
        config: BaselineConfig,
        plan: dict[str, object],
        compute: Compute,
    ) -> None:
        self._task, self._folder, self._config = task, folder, config
        self._compute = compute
        self._plan = json.dumps({**plan, **asdict(config)}, sort_keys=True)
        self._schedule = TrainConfig(steps=config.steps, warmup=30, decay=0.4)
        self._state = _State()
        task.network.to(compute.device)
        trained = [p for p in task.network.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(trained, lr=task.rate, weight_decay=0.01)
        self._best = self._weights()
        if (folder / "last.pt").exists():
            self._go_on(folder / "last.pt")

    def train(self) -> _State:
        """Train to the end, and put the best weights into the network."""
        config, state, network = self._config, self._state, self._task.network
        progress = self._compute.progress
        begun, losses = time.perf_counter() - state.seconds, []
        if not self._done():
            for batch in self._batches():
                losses.append(self._advance(batch))
                if state.step % config.check_every == 0 or state.step == config.steps:
                    state.seconds = time.perf_counter() - begun
                    self._check(float(np.mean(losses)))
                    losses = []
                    if progress is not None:
                        progress(state.step, {"loss": state.curve[-1][1], "dice": state.best_score})
                    if self._done():
                        break
        network.load_state_dict(self._best)
        network.eval()
        return state

    def _done(self) -> bool:
        config, state = self._config, self._state
        waited = (state.step - state.best_step) // config.check_every
        return state.step >= config.steps or waited >= config.patience

    def _batches(self) -> Iterator[Drawn]:
        config = self._config
        total = config.steps * config.batch
        return iter(
            DataLoader(
                _Examples(self._task, config.seed, total),
                batch_size=config.batch,
                sampler=range(self._state.step * config.batch, total),
                num_workers=self._compute.workers,
            )
        )

    def _advance(self, batch: Drawn) -> float:
        state, network = self._state, self._task.network
        rate = self._task.rate * learning_rate_factor(state.step, self._schedule)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        key = (self._config.seed * 1_000_003 + state.step) % 2**63  # what PyTorch takes
        network.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key)  # dropout, and what a loss draws
            moved = tuple(part.to(self._compute.device, non_blocking=True) for part in batch)
            reduced = self._config.precision == "bfloat16"
            with torch.autocast(self._compute.device.type, torch.bfloat16, enabled=reduced):
                loss = self._task.loss(moved, torch.Generator().manual_seed(key))
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        self._optimiser.step()
        state.step += 1
        return loss.item()

    def _check(self, loss: float) -> None:
        """Score, keep the best weights, and write down where the run stands."""
        state = self._state
        self._task.network.eval()
        with torch.inference_mode():
            score = self._task.score()
        state.curve.append([state.step, loss, score])
        if score > state.best_score:
            state.best_score, state.best_step = score, state.step
            self._best = self._weights()
        content = {
            "plan": self._plan,
            "network": self._task.network.state_dict(),
            "best": self._best,
            "optimiser": self._optimiser.state_dict(),
            **asdict(state),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._folder / "last.pt") as path:
            torch.save(content, path)
        write_csv(self._folder / "curve.csv", ["step", "loss", "score"], state.curve)

    def _go_on(self, path: Path) -> None:
        content: Any = read_weights_file(path).content
        try:
            kept = asdict(BaselineConfig()) | json.loads(content["plan"])
            wanted = json.loads(self._plan)
            other = sorted(key for key in wanted if kept.get(key) != wanted[key])
            if not other:
                self._task.network.load_state_dict(content["network"])
                self._optimiser.load_state_dict(content["optimiser"])
                self._best = {k: v.to(self._compute.device) for k, v in content["best"].items()}
                self._state = _State(**{each.name: content[each.name] for each in fields(_State)})
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged; delete its folder to begin again."
            ) from error
        if other:
            raise InputError(
                f"{path.parent} holds a run with another {' and '.join(other)}; choose "
                "another folder, or delete it."
            )

    def _weights(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self._task.network.state_dict().items()}
