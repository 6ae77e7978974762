"""The paper's interactive protocol, played over a multi-rater folder."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from napari_spa.core.objects import split_objects
from napari_spa.core.simulated_user import first_click
from napari_spa.datasets import Case, CaseFolder, open_folder
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.evaluate.measure import Row, measure_turns
from napari_spa.evaluate.methods import METHODS, MethodBuilder, Stage, User
from napari_spa.refine.engine.config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_spa.core.types import BoolArray
    from napari_spa.io.models.load import LoadedModel

Head = Literal["latent", "logit", "both"]


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """What is played.

    Attributes
    ----------
    split : str or None
        Which cases; None for all.
    objects : bool
        Each connected object of the masks is a target of its own.
    rounds : int
        J, proposals that a user sees.
    methods : tuple of str
        Names of :data:`napari_spa.evaluate.methods.METHODS`.
    heads : tuple of {"latent", "logit", "both"} or None
        Preference heads to compare; the model's own by default.
    limit : int or None
        Play only so many cases, drawn by the seed.
    targets : int or None
        At most so many objects of one image, drawn by the seed.
    seed : int
        Decides clicks, subsets, and what users do at random.
    workers : int
        Images played at a time, in threads.
    engine : EngineConfig
        Numbers of samples and candidates, and what a pick carries on.
    """

    split: str | None = "val"
    objects: bool = False
    rounds: int = 6
    methods: tuple[str, ...] = ("spa", "frozen", "random")
    heads: tuple[Head, ...] | None = None
    limit: int | None = None
    targets: int | None = None
    seed: int = 0
    workers: int = 1
    engine: EngineConfig = field(default_factory=EngineConfig)


def choose_names(folder: CaseFolder, config: EvaluateConfig) -> list[str]:
    """Return the names of the cases that are played.

    Parameters
    ----------
    folder : CaseFolder
        The data set.
    config : EvaluateConfig
        Split, limit and seed.

    Returns
    -------
    list of str
        Sorted.

    Raises
    ------
    DataError
        When the split is empty.
    """
    names = folder.names(config.split)
    if not names:
        raise DataError(f"there is no image of the split {config.split!r}; choose another split.")
    if config.limit is not None and config.limit < len(names):
        chosen = np.random.default_rng(config.seed).permutation(len(names))[: config.limit]
        names = [names[index] for index in sorted(chosen)]
    return names


def evaluate(
    model: LoadedModel,
    folder: CaseFolder | Path | str,
    config: EvaluateConfig | None = None,
    *,
    registry: Mapping[str, MethodBuilder] = METHODS,
    failed: Callable[[str, SpaError], None] | None = None,
) -> Iterator[Row]:
    """Play every method with every rater over a multi-rater folder.

    The first click is drawn from the area on which all raters agree and is the same for
    all users, methods and heads of a target; what changes between two rows of one round
    is only what is compared.

    Parameters
    ----------
    model : LoadedModel
        What is evaluated.
    folder : CaseFolder or path
        The data set.
    config : EvaluateConfig or None
        What is played.
    registry : mapping of str to callable
        Builders of the methods by name.
    failed : callable or None
        Called with a case's name and why it could not be played; it is then left out.
        Without it the error is raised.

    Yields
    ------
    Row
        One per image, target, user, method, head and round.

    Raises
    ------
    InputError
        When the configuration is impossible.
    DataError
        When the folder cannot be read or has no such case.
    """
    config = config or EvaluateConfig()
    _check(config, registry)
    opened = open_folder(folder) if isinstance(folder, (str, Path)) else folder
    names = choose_names(opened, config)
    play = partial(_play_case, model, opened, config, registry)
    for name, outcome in _outcomes(play, names, config.workers):
        if isinstance(outcome, SpaError):
            if failed is None:
                raise outcome
            failed(name, outcome)
        else:
            yield from outcome


Outcome = list[Row] | SpaError


def _outcomes(
    play: Callable[[str], list[Row]], names: Sequence[str], workers: int
) -> Iterator[tuple[str, Outcome]]:
    def attempt(name: str) -> tuple[str, Outcome]:
        try:
            return name, play(name)
        except SpaError as error:
            return name, error

    if workers == 1:
        yield from map(attempt, names)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="napari-spa-evaluate") as pool:
        try:
            yield from pool.map(attempt, names)
        finally:
            pool.shutdown(cancel_futures=True)


def _check(config: EvaluateConfig, registry: Mapping[str, MethodBuilder]) -> None:
    unknown = [name for name in config.methods if name not in registry]
    if unknown or not config.methods:
        raise InputError(
            f"unknown method {', '.join(unknown) or 'none'}; choose of {', '.join(registry)}."
        )
    unknown = [head for head in config.heads or () if head not in get_args(Head)]
    if unknown or config.heads == ():
        raise InputError(f"unknown head {', '.join(unknown)}; choose of latent, logit, both.")
    counts = {"rounds": config.rounds, "workers": config.workers}
    counts |= {"limit": config.limit or 1, "targets": config.targets or 1}
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"{name} must be 1 or more, not {value}.")


def _play_case(
    model: LoadedModel,
    folder: CaseFolder,
    config: EvaluateConfig,
    registry: Mapping[str, MethodBuilder],
    name: str,
) -> list[Row]:
    case = folder.read(name)
    targets = choose_targets(case, config)
    rows: list[Row] = []
    for head in config.heads or (cast("Head", model.identity.head),):
        engine = replace(config.engine, head=head)
        stage = Stage(model, case.image, engine, config.seed)
        methods = {method: registry[method](stage) for method in config.methods}
        for number, masks in targets:
            marked = masks.any(axis=(1, 2))
            raters = masks[marked]
            click = first_click(raters, seeded(config, name, number))
            for rater, truth in zip(np.array(case.raters)[marked], raters, strict=True):
                for method, player in methods.items():
                    user = User(truth, seeded(config, name, number, str(rater)))
                    turns = player.play(click, user, config.rounds)
                    label = partial(
                        Row, image=name, target=number, user=str(rater), method=method, head=head
                    )
                    rows += measure_turns(list(turns), truth, raters, config.rounds, label)
    return rows


def choose_targets(case: Case, config: EvaluateConfig) -> list[tuple[int, BoolArray]]:
    """Return the numbered targets of an image, each with all raters' masks.

    Parameters
    ----------
    case : Case
        One image.
    config : EvaluateConfig
        Whether single objects are targets, how many, and the seed.

    Returns
    -------
    list of (int, ndarray of shape (R, H, W))
        Number and bool masks; targets that nobody marked are left out.
    """
    stacks = split_objects(case.masks) if config.objects else [case.masks]
    numbered = [(n, masks) for n, masks in enumerate(stacks) if masks.any()]
    if config.targets is not None and config.targets < len(numbered):
        chosen = seeded(config, case.name).permutation(len(numbered))[: config.targets]
        numbered = [numbered[index] for index in sorted(chosen)]
    return numbered


def seeded(config: EvaluateConfig, *parts: str | int) -> np.random.Generator:
    """Return the generator of one image, target or user, whatever else is played.

    Parameters
    ----------
    config : EvaluateConfig
        With the seed.
    *parts : str or int
        Names of what it is for.

    Returns
    -------
    numpy Generator
    """
    key = [zlib.crc32(str(part).encode()) for part in parts]
    return np.random.default_rng([config.seed, *key])
