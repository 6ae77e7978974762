"""The training loop: seeded, resumable, on a CPU or a GPU."""

from __future__ import annotations

import csv
import math
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from napari_spa.errors import CheckpointError
from napari_spa.io.files import atomic_path
from napari_spa.io.models.formats import read_weights_file
from napari_spa.model.spa import Spa, SpaConfig
from napari_spa.train.data import Source, SuperpixelSource
from napari_spa.train.steps import StepConfig, step_loss
from napari_spa.train.windows import Window, WindowConfig, draw_window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long and how fast to learn."""

    steps: int = 4000  # optimiser steps in all
    batch: int = 16  # windows per step
    learning_rate: float = 1e-3  # adamW's peak rate
    # Factor on it for a pretrained image encoder; 0 leaves the encoder as it is.
    encoder_rate: float = 1.0
    weight_decay: float = 0.02  # adamW's decay
    warmup: int = 150  # steps of linear warm-up
    decay: float = 0.3  # share of the steps at the end over which the rate falls to zero
    average: float = 0.998  # decay of the exponential average of the weights that is saved
    seed: int = 0  # seed of everything random
    save_every: int = 100  # steps between rows of the log
    save_seconds: float = 0.0  # a checkpoint is written with a row, but not sooner after the last
    workers: int = 1  # processes that draw windows; never more than there are cores
    # Time that the run may take; the rate then falls with the time that is used, where that is
    # ahead of the steps.  0 is without limit.
    minutes: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"  # of the network; losses are float32
    model: SpaConfig = field(default_factory=SpaConfig)  # shapes and weights of the parts
    step: StepConfig = field(default_factory=StepConfig)
    window: WindowConfig = field(default_factory=WindowConfig)


class Windows(Dataset[Window]):
    """The numbered windows of a run, from weighted sources.

    Window i is drawn from ``(seed, i)`` alone: a resumed run, and one with any number of
    worker processes, sees the same windows in the same order.
    """

    def __init__(
        self, sources: Sequence[tuple[Source, float]], config: WindowConfig, *, seed: int = 0
    ) -> None:
        self.sources = [source for source, _ in sources]
        shares = np.array([share for _, share in sources], dtype=np.float64)
        self.shares = shares / shares.sum()
        self.config, self.seed = config, seed

    def __getitem__(self, index: int) -> Window:
        rng = np.random.default_rng([self.seed, index])
        source = self.sources[rng.choice(len(self.sources), p=self.shares)]
        return draw_window(source[int(rng.integers(len(source)))], self.config, rng)


def collate(windows: Sequence[Window]) -> Window:
    """Stack windows into a batch."""
    return Window(*map(torch.stack, zip(*windows, strict=True)))


def learning_rate_factor(step: int, config: TrainConfig, used: float = 0.0) -> float:
    """Warm up, hold, and fall along a half cosine."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = max(float(step), used * config.steps)
    start = config.steps * (1 - config.decay)
    if done < start:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - start) / (config.steps - start + 1))))


class Trainer:
    """A model in training: weights, their average, the optimiser and where it stands."""

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        start: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.model = Spa(config.model)
        own = self.model.state_dict()
        fits = {n: t for n, t in (start or {}).items() if n in own and own[n].shape == t.shape}
        self.model.load_state_dict(fits, strict=False)
        self.model.to(device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        if config.encoder_rate == 0.0:
            self.model.image_encoder.requires_grad_(False)  # no gradient, no time for it
        encoder = [*self.model.image_encoder.parameters()]
        known = {id(parameter) for parameter in encoder}
        rest = [p for p in self.model.parameters() if id(p) not in known]
        self.optimiser = torch.optim.AdamW(
            [{"params": encoder, "factor": config.encoder_rate}, {"params": rest, "factor": 1.0}],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=device.type == "cuda",
        )
        self.step, self.seconds = 0, 0.0  # steps taken, and time used
        self.running: dict[str, float] = {}  # metrics, averaged over steps

    @property
    def finished(self) -> bool:
        """Whether the steps or the time are used up."""
        return self.step >= self.config.steps or self._used >= 1

    @property
    def _used(self) -> float:
        """Share of the time that is used; 0 without a limit."""
        return self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0

    def advance(self, batch: Window) -> dict[str, float]:
        """Take one step on a batch."""
        config = self.config
        rate = config.learning_rate * learning_rate_factor(self.step, config, self._used)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        batch = Window(*(part.to(self.device, non_blocking=True) for part in batch))
        key = (config.seed * 1_000_003 + self.step) % 2**63  # what PyTorch takes
        generator = torch.Generator().manual_seed(key)
        self.model.train()
        reduced = config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            loss, metrics = step_loss(self.model, batch, config.step, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        metrics = {"loss": loss.detach(), "gradient": norm} | metrics
        # All at once: each figure fetched alone would stop a GPU.
        values = torch.stack([value.float() for value in metrics.values()]).tolist()
        return dict(zip(metrics, values, strict=True)) | {"rate": rate}

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        pairs = [
            (self.average[name], value)
            for name, value in self.model.state_dict().items()
            if value.is_floating_point()
        ]
        torch._foreach_lerp_([pair[0] for pair in pairs], [pair[1] for pair in pairs], 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint that :meth:`resume` continues from."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "running": self.running,
            "config": asdict(self.config.model),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state: Any = read_weights_file(path).content
        try:
            self.model.load_state_dict(state["model"])
            self.average = {k: v.to(self.device) for k, v in state["average"].items()}
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds = int(state["step"]), float(state.get("seconds", 0.0))
            self.running = dict(state.get("running", {}))
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is of another network or no training checkpoint; train into another "
                "folder, or with the configuration it was begun with."
            ) from error


def train(
    sources: Sequence[tuple[Source, float]],
    folder: Path,
    config: TrainConfig,
    *,
    device: torch.device,
    resume: bool = False,
    start: Mapping[str, torch.Tensor] | None = None,
    logs: Sequence[SummaryWriter] = (),
) -> Trainer:
    """Train, leaving ``last.pt`` and ``metrics.csv`` in a folder; return the trainer at its end.

    Windows come from the sources in proportion to their shares.  ``resume``: go on from ``last.pt``
    when it is there; ``start``: weights of which a new run takes what fits; ``logs``:
    further receivers of the metrics.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "last.pt"
    trainer = Trainer(config, device, start)
    if resume and checkpoint.exists():
        trainer.resume(checkpoint)
        _cut(folder / "metrics.csv", trainer.step)
    torch.backends.cudnn.benchmark = device.type == "cuda"  # every step has the same shapes
    workers = min(config.workers, os.cpu_count() or 1)
    if workers > 1:
        for source, _ in sources:
            if isinstance(source, SuperpixelSource):
                source.prepare(workers)
    loader = DataLoader(
        Windows(sources, config.window, seed=config.seed),
        batch_size=config.batch,
        sampler=range(trainer.step * config.batch, config.steps * config.batch),
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=device.type == "cuda",
    )
    running = trainer.running
    progress = tqdm(total=config.steps, initial=trainer.step, unit="step", mininterval=5.0)
    begun, before, saved = time.monotonic(), trainer.seconds, time.monotonic()
    batches = iter(loader)
    while not trainer.finished:
        for name, value in trainer.advance(next(batches)).items():
            keep = 0.98 if name in running else 0.0
            running[name] = keep * running.get(name, 0.0) + (1 - keep) * value
        trainer.seconds = before + time.monotonic() - begun  # waiting for windows counts too
        progress.update()
        last = bool(trainer.finished)
        if last or trainer.step % config.save_every == 0:
            _record(folder / "metrics.csv", trainer.step, running, logs)
            if last or time.monotonic() - saved >= config.save_seconds:
                trainer.save(checkpoint)
                saved = time.monotonic()
            shown = {k: f"{running[k]:.3f}" for k in ("loss", "dice_1", "dice_2", "obeyed")}
            progress.set_postfix(shown)
    progress.close()
    return trainer


def _cut(path: Path, step: int) -> None:
    """Leave out rows after a step: a run was killed before it was saved there."""
    if not path.exists():
        return
    header, *rows = path.read_bytes().splitlines() or [b""]
    kept = [header, *(row for row in rows if int(row.split(b",")[0]) <= step)]
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(row + b"\r\n" for row in kept))


def _record(
    path: Path, step: int, metrics: dict[str, float], logs: Sequence[SummaryWriter]
) -> None:
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["step", *metrics])
        if fresh:
            writer.writeheader()
        writer.writerow({"step": step} | {k: round(v, 6) for k, v in metrics.items()})
    for log in logs:
        for name, value in metrics.items():
            log.add_scalar(name, value, step)
