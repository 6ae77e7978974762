"""A model of one's own: a network tuned on the objects that a user accepted.

The image encoder stays as it is; the decoder, the prompt maps and the conditioner follow
the user.  A part of the objects is set aside, and the tuned network is worth having only
if its first click is better on them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import DataLoader

from napari_spa.core.measures import dice
from napari_spa.core.presentation import counted
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import DataError, ModelError
from napari_spa.io.images import open_image, read_label_stack
from napari_spa.io.models.formats import save_model
from napari_spa.io.projects.paths import labels_path
from napari_spa.io.projects.project import Project
from napari_spa.refine.session.session import RefinementSession
from napari_spa.train.data import CONTEXT, ObjectSource, RatedObject, numbers_of, to_rgb8
from napari_spa.train.loop import TrainConfig, Trainer, Windows, collate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.io.models.load import LoadedModel
    from napari_spa.model.spa import Spa

_NAMED = 3  # images that cannot be read, in a sentence
FEWEST = 5  # accepted objects below which nothing is learnt


@dataclass(frozen=True, slots=True)
class PersonalConfig:
    """How long and how fast to follow a user."""

    steps: int = 120  # optimiser steps
    batch: int = 8  # windows per step
    learning_rate: float = 2e-4  # adamW's peak rate
    # Share of the images, or of the objects of a single image, that is set aside.
    held_out: float = 0.3
    tested: int = 20  # at most so many objects are tested, and about so many clicks made, each time
    seed: int = 0  # of everything random


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedObject:
    """An object that a user accepted."""

    name: str  # of its image, or of its plane in a stack
    image: NDArray[np.generic]  # (H, W) or (H, W, C), as it is on disk
    mask: LocalMask


@dataclass(frozen=True, slots=True, eq=False)
class PersonalModel:
    """A tuned network, and what it is worth."""

    spa: Spa  # in evaluation mode
    learnt_from: int  # objects
    tested_on: int  # objects
    before: float  # mean Dice of the first click on the objects that were set aside
    after: float

    @property
    def better(self) -> bool:
        """Whether it is worth having."""
        return self.after > self.before

    @property
    def figures(self) -> str:
        """What it is worth, in words."""
        return (
            f"first click on {counted(self.tested_on, 'object')} set aside: Dice "
            f"{self.before:.2f} before, {self.after:.2f} after learning from {self.learnt_from}"
        )


def surroundings(mask: LocalMask, shape: tuple[int, int]) -> Region:
    """Return what training sees around an object of an image."""
    diameter = 2 * np.sqrt(mask.area / np.pi)
    return mask.region.grown(int(CONTEXT / 2 * diameter) + 8, shape)


def save_personal(made: PersonalModel, model: LoadedModel, path: Path) -> None:
    """Write a tuned model's weights, and in their card what it was tuned from."""
    card = {**model.card, "tuned_on": made.learnt_from, "tuned_from": model.identity.sha256}
    save_model(made.spa, path, card)


def accepted_objects(
    project: Path, *, without: Collection[str] = (), fewest: int = FEWEST
) -> list[AcceptedObject]:
    """Collect the objects of a project folder, but those of some of its images.

    ``DataError`` where they are fewer than so many.
    """
    found: list[AcceptedObject] = []
    unread: list[str] = []
    for item in Project.open(project).items:
        saved = labels_path(project, item.name)
        if item.name in without or not saved.is_file():
            continue
        if item.problem:
            unread.append(item.problem)
            continue
        opened = open_image(item.path)
        labels = read_label_stack(saved, opened.shape)
        for index in np.ndindex(labels.shape[:-2]):
            name, plane = "/".join([item.name, *map(str, index)]), labels[index]
            if plane.any():
                image = np.asarray(opened.levels[0][index])
                found += [
                    AcceptedObject(name, image, LocalMask.crop(plane == number))
                    for number in numbers_of(plane)
                ]
    if len(found) < fewest:
        why = f" Not read: {' '.join(unread[:_NAMED])}" if unread else ""
        raise DataError(
            f"{project} holds {counted(len(found), 'accepted object')} to learn from; "
            f"accept at least {fewest} first.{why}"
        )
    return found


def tune(
    model: LoadedModel,
    objects: Sequence[AcceptedObject],
    config: PersonalConfig | None = None,
    *,
    progress: Callable[[float, str], None] = lambda share, message: None,
) -> PersonalModel:
    """Tune a model on accepted objects, and test it on some that were set aside."""
    settings = config or PersonalConfig()
    if len(objects) < FEWEST:
        raise DataError(f"{len(objects)} accepted objects are too few; accept at least {FEWEST}.")
    if not model.config.latent_dim or model.config.convention != "spa":
        raise ModelError(f"{model.identity.name} cannot be tuned; use a model of napari-spa.")
    learn, test = set_aside(objects, settings)
    progress(0.0, "testing the model as it is")
    clicks = max(1, round(settings.tested / len(test)))
    before = first_clicks(model, test, settings.seed, clicks)
    progress(0.1, "learning")
    trainer = Trainer(
        TrainConfig(
            steps=settings.steps,
            batch=settings.batch,
            learning_rate=settings.learning_rate,
            encoder_rate=0.0,
            warmup=max(1, settings.steps // 10),
            decay=0.5,
            average=0.97,
            seed=settings.seed,
            model=model.config,
        ),
        model.device,
        model.spa.state_dict(),
    )
    window = replace(trainer.config.window, size=model.config.image_size)
    windows = Windows([(_source(learn), 1.0)], window, seed=settings.seed)
    order = range(settings.steps * settings.batch)
    for batch in DataLoader(windows, batch_size=settings.batch, sampler=order, collate_fn=collate):
        trainer.advance(batch)
        progress(0.1 + 0.8 * trainer.step / settings.steps, "learning")
    tuned = copy.deepcopy(model.spa)
    tuned.load_state_dict(trainer.average)
    progress(0.9, "testing what was learnt")
    after = first_clicks(replace(model, spa=tuned.eval()), test, settings.seed, clicks)
    return PersonalModel(tuned, len(learn), len(test), before, after)


def set_aside(
    objects: Sequence[AcceptedObject], config: PersonalConfig
) -> tuple[list[AcceptedObject], list[AcceptedObject]]:
    """Split objects into some to learn from and some to test on: by image where there are three."""
    rng = np.random.default_rng(config.seed)
    names = [item.name for item in objects]
    if len(set(names)) < 3:
        names = [str(number) for number in range(len(objects))]
    groups = rng.permutation(sorted(set(names)))
    kept = set(groups[: max(1, round(config.held_out * len(groups)))].tolist())
    learn = [item for item, name in zip(objects, names, strict=True) if name not in kept]
    test = [item for item, name in zip(objects, names, strict=True) if name in kept]
    chosen = rng.permutation(len(test))[: config.tested]
    return learn, [test[index] for index in sorted(chosen)]


def first_clicks(
    model: LoadedModel, objects: Iterable[AcceptedObject], seed: int, clicks: int
) -> float:
    """Return the mean Dice after one click, at so many random places of each object in turn."""
    rng = np.random.default_rng(seed)
    session = RefinementSession(model, seed=seed)
    found = []
    for item in objects:
        whole = item.mask.within(Region(0, 0, *item.image.shape[:2]))
        spots = np.argwhere(whole)
        session.set_image(item.image)
        for row, column in spots[rng.integers(len(spots), size=clicks)].tolist():
            proposal = session.start(points=[(row, column)], labels=[1])
            found.append(dice(proposal.mask, whole))
    return float(np.mean(found))


def _source(objects: Sequence[AcceptedObject]) -> ObjectSource:
    """Return accepted objects to train on; many share an image, which is converted once."""
    images = {id(item.image): item.image for item in objects}
    pixels = {key: to_rgb8(image) for key, image in images.items()}
    near = [surroundings(item.mask, (item.image.shape[0], item.image.shape[1])) for item in objects]
    return ObjectSource(
        [
            RatedObject(pixels[id(item.image)][region.slices], item.mask.within(region)[None])
            for item, region in zip(objects, near, strict=True)
        ]
    )
