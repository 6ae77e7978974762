"""The methods that are compared with ours: their networks, and one loop that trains them all.

:data:`BASELINES` names each; :func:`train_method` trains one in a folder of its own and goes on
where it stopped; :func:`load_baseline` reads what it left.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_spa.errors import CheckpointError, DataError, InputError
from napari_spa.io.files import JsonError, atomic_path, read_json, write_text
from napari_spa.io.models.formats import read_weights_file, save_model
from napari_spa.io.models.load import LoadedModel, load_model
from napari_spa.io.models.registry import file_digest
from napari_spa.train.baselines.loop import (
    BaselineConfig,
    BaselineRun,
    Compute,
    Drawn,
    RatedBatch,
    RatedExamples,
    Task,
    draw_example,
    plain_batch,
    read_examples,
)
from napari_spa.train.baselines.networks import (
    PROMPTED,
    WHOLE_IMAGE,
    Prompted,
    WholeImage,
)
from napari_spa.train.loop import collate
from napari_spa.train.windows import Window, WindowConfig, draw_window

if TYPE_CHECKING:
    from pathlib import Path

    from napari_spa.datasets import CaseFolder


BASELINES = (*PROMPTED, *WHOLE_IMAGE)
"""Methods that can be trained on a data set.

``NAME@RATER`` is one that learns from one rater alone, ``NAME~RATER`` from all but one.
"""

_SCORED = 96  # at most so many objects held aside are scored


def split_name(name: str) -> tuple[str, str | None, str | None]:
    """Return a method's base name, the only rater it learns from, and the one left out."""
    base, _, only = name.partition("@")
    base, _, without = base.partition("~")
    if base not in BASELINES:
        raise InputError(f"{name} cannot be trained; choose of {', '.join(BASELINES)}.")
    return base, only or None, without or None


def train_method(
    name: str,
    folder: CaseFolder,
    run: Path,
    config: BaselineConfig,
    *,
    backbone: str,
    compute: Compute,
) -> dict[str, object]:
    """Train a method on a data set, or go on where it stopped; what is done is not done again."""
    base, only, without = split_name(name)
    config = replace(config, only=only, without=without)
    config.check()
    plan: dict[str, object] = {"method": base}
    if base in PROMPTED:
        model = load_model(backbone, device="cpu")
        plan["backbone"] = model.identity.name
        plan["backbone_sha256"] = model.identity.sha256
    wanted = plan | asdict(config)
    done = trained_facts(run)
    known = asdict(BaselineConfig()) | done  # what an earlier version did not write is as it was
    if done and all(known.get(key) == value for key, value in wanted.items()):
        return done
    examples = read_examples(folder, config)
    torch.manual_seed(config.seed)
    task: Task
    if base in PROMPTED:
        task = _PromptedTask(PROMPTED[base](model.spa), examples, config)
    else:
        network = WHOLE_IMAGE[base](len(examples.raters), config.size)
        task = _WholeImageTask(network, examples, config)
    plan["images"] = [len(examples.learnt), len(examples.aside)]
    plan["raters"] = list(examples.raters)
    state = BaselineRun(task, run, config, plan, compute).train()
    weights = list(task.network.parameters())
    cost: dict[str, object] = {
        "parameters": sum(p.numel() for p in weights),
        "trained": sum(p.numel() for p in weights if p.requires_grad),
        "steps": state.step,
        "best step": state.best_step,
        "score": round(state.best_score, 4),
        "seconds": round(state.seconds, 1),
    }
    return _keep(task, base, run, plan | asdict(config) | cost)


def _keep(task: Task, base: str, run: Path, facts: dict[str, object]) -> dict[str, object]:
    from safetensors.torch import save_file

    state = {name: value.cpu().contiguous() for name, value in task.network.state_dict().items()}
    with atomic_path(run / "weights.safetensors") as path:
        save_file(state, path)
    if base == "spa" and isinstance(task.network, Prompted):
        save_model(task.network.spa, run / "spa.safetensors", {"made_with": "napari-spa train"})
    facts["sha256"] = file_digest(run / "weights.safetensors")
    write_text(run / "facts.json", json.dumps(facts, indent=1))
    return facts


def trained_facts(run: Path) -> dict[str, Any]:
    """Return what a finished training left in its folder; empty when there is none."""
    path = run / "facts.json"
    try:
        return dict(read_json(path))
    except FileNotFoundError:
        return {}
    except (OSError, JsonError, TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read; delete it and train again.") from error


def load_baseline(run: Path, model: LoadedModel | None = None) -> WholeImage | Prompted:
    """Load a trained method."""
    facts = trained_facts(run)
    if not facts:
        raise DataError(f"{run} holds no finished training; run the same command again.")
    network: WholeImage | Prompted
    try:
        if facts["method"] in PROMPTED:
            if model is None:
                raise RuntimeError("a promptable method needs its backbone")
            network = PROMPTED[facts["method"]](model.spa)
        else:
            network = WHOLE_IMAGE[facts["method"]](len(facts["raters"]), facts["size"])
        state: Any = read_weights_file(run / "weights.safetensors").content
        network.load_state_dict(dict(state))
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{run} does not fit the model that is evaluated, or is damaged; train it again."
        ) from error
    return network.eval()


class _WholeImageTask:
    """A network that segments whole images."""

    def __init__(
        self, network: WholeImage, examples: RatedExamples, config: BaselineConfig
    ) -> None:
        self.network, self.rate = network, config.learning_rate
        self._examples = examples

    def draw(self, rng: np.random.Generator) -> Drawn:
        learnt = self._examples.learnt
        return draw_example(learnt[int(rng.integers(len(learnt)))], rng)

    def loss(self, batch: Drawn, generator: torch.Generator) -> Tensor:
        return self.network.loss(RatedBatch(*batch))

    def score(self) -> float:
        device = next(self.network.parameters()).device
        scores = []
        for start in range(0, len(self._examples.aside), 16):
            batch = plain_batch(self._examples.aside[start : start + 16])
            found = self.network.predict(batch.pixels.to(device)).cpu() > 0.5
            scores.append(_dice(found, batch.majority()[:, 0] > 0.5))
        return float(torch.cat(scores).mean())


class _PromptedTask:
    """A backbone that answers prompts in windows."""

    def __init__(self, network: Prompted, examples: RatedExamples, config: BaselineConfig) -> None:
        self.network, self.rate = network, config.tuning_rate
        size = network.spa.config.image_size
        self._window = WindowConfig(size=size, far_share=0.15)
        self._objects = [each for example in examples.learnt for each in example.objects]
        aside = [each for example in examples.aside for each in example.objects][:_SCORED]
        windows = [
            draw_window(
                each, WindowConfig(size=size, far_share=0.0), np.random.default_rng([index, 3])
            )
            for index, each in enumerate(aside)
        ]
        self._aside = collate(windows)

    def draw(self, rng: np.random.Generator) -> Drawn:
        chosen = self._objects[int(rng.integers(len(self._objects)))]
        return draw_window(chosen, self._window, rng)

    def loss(self, batch: Drawn, generator: torch.Generator) -> Tensor:
        return self.network.loss(Window(*batch), generator)

    def score(self) -> float:
        device = next(self.network.parameters()).device
        scores = []
        for start in range(0, len(self._aside.pixels), 16):
            batch = Window(*(part[start : start + 16].to(device) for part in self._aside))
            answer = self.network.answer(batch, torch.Generator().manual_seed(start))
            scores.append(_dice(answer > 0.5, batch.targets[:, 0] > 0.5).cpu())
        return float(torch.cat(scores).mean())


def _dice(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the Dice of each pair of ``(B, h, w)`` bool masks."""
    both = (found & wanted).flatten(1).sum(1)
    total = found.flatten(1).sum(1) + wanted.flatten(1).sum(1)
    return torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)
