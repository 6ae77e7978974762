"""Whether what was learnt on some images helps on others (paper, section 4.3.2).

Each rater works through a few images of a set as a user does: the session on an image
begins with the profile from the images before.  Then every profile proposes a first round
on images that none of them has seen, and each proposal is compared with every rater's own
masks: the rater who taught the profile and the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_spa.core.metrics import dice
from napari_spa.core.simulated_user import first_click, pick_nearest
from napari_spa.core.types import Region
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.evaluate.protocol import EvaluateConfig
from napari_spa.evaluate.targets import choose_names, choose_objects, seeded
from napari_spa.evaluate.transfer.files import Agreement, Tested, TransferFiles, TransferRow
from napari_spa.io.embeddings import EmbeddingCache
from napari_spa.refine.preference.update import learning_facts
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_spa.core.types import BoolArray, Proposal
    from napari_spa.datasets import Case, CaseFolder
    from napari_spa.evaluate.targets import RatedMasks
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.io.profiles.profile import PreferenceProfile

_MARGIN = 0.1
"""A box is by so much wider, on each side, than what any rater marked."""

Failed = Callable[[str, SpaError], None]
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """What is learnt and tested."""

    images: tuple[int, ...] = (1, 2, 5, 10)  # A profile is tested after so many images
    orders: int = 2  # in so many random orders each rater works through the images
    # Objects are started with a box as well as a click: around what any rater marked, a tenth
    # wider on each side, so it says nothing about one of them.
    box: bool = False
    # Split, objects, rounds, targets of an image, seed and engine; ``limit`` is the number of
    # images tested in each order.  Methods, heads and workers are not used.
    protocol: EvaluateConfig = field(default_factory=EvaluateConfig)


def transfer(
    model: LoadedModel,
    folder: CaseFolder,
    config: TransferConfig | None = None,
    *,
    work: Path | None = None,
    failed: Failed | None = None,
) -> Iterator[Tested]:
    """Teach profiles on some images and test them on others.

    The arguments are checked at once, the work is done as the result is iterated over.
    """
    config = config or TransferConfig()
    _check(config)
    names = choose_names(folder, replace(config.protocol, limit=None))
    if len(names) <= max(config.images):
        raise DataError(
            f"{len(names)} images are too few to learn from {max(config.images)} and test on "
            "others; learn from fewer, or choose another split."
        )
    files = TransferFiles(work, _plan(model, names, config))
    return _Experiment(model, folder, config, files, failed).run(names)


def _check(config: TransferConfig) -> None:
    if not config.images or min(config.images) < 1:
        raise InputError("a profile is learnt from 1 image or more; name the numbers, as 1,2,5.")
    limit, targets = config.protocol.limit, config.protocol.targets
    counts = {"rounds": config.protocol.rounds, "orders": config.orders}
    counts |= {"limit": limit or 1, "targets": targets or 1}
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"{name} must be 1 or more, not {value}.")


def _plan(model: LoadedModel, names: Sequence[str], config: TransferConfig) -> dict[str, object]:
    """Return what decides a profile and a tested image: not how many orders and tests."""
    protocol = config.protocol
    return {
        "model": asdict(model.identity),
        "names": list(names),
        "images": config.images,
        "box": config.box,
        "objects": protocol.objects,
        "targets": protocol.targets,
        "rounds": protocol.rounds,
        "seed": protocol.seed,
        "engine": asdict(protocol.engine),
        "learning": learning_facts(),
    }


@dataclass(slots=True)
class _Pupil:
    """One rater at work: the profile so far, and those that are tested."""

    images: int = 0
    profile: PreferenceProfile | None = None
    kept: dict[int, PreferenceProfile] = field(default_factory=dict)


class _Experiment:
    """Teach and test; everything it knows of the disk is behind ``files``."""

    def __init__(
        self,
        model: LoadedModel,
        folder: CaseFolder,
        config: TransferConfig,
        files: TransferFiles,
        failed: Failed | None,
    ) -> None:
        self._model, self._folder, self._config = model, folder, config
        self._files, self._failed = files, failed
        self._cache = EmbeddingCache(None)  # views are chosen and encoded once
        self._left_out: set[str] = set()

    def run(self, names: Sequence[str]) -> Iterator[Tested]:
        for order in range(1, self._config.orders + 1):
            rng = seeded(self._config.protocol, "order", order)
            shuffled = [names[index] for index in rng.permutation(len(names))]
            pupils, used = self._teach(order, shuffled)
            unseen = [name for name in shuffled if name not in used]
            for name in unseen[: self._config.protocol.limit]:
                tested = self._attempt(name, partial(self._test, order, pupils))
                if tested is not None:
                    yield tested

    def _attempt(self, name: str, act: Callable[[Case], Done]) -> Done | None:
        """Do something with a case, or leave it out where it cannot be used."""
        try:
            return act(self._folder.read(name))
        except SpaError as error:
            if self._failed is None:
                raise
            if name not in self._left_out:
                self._failed(name, error)
            self._left_out.add(name)
            return None

    def _teach(self, order: int, names: Sequence[str]) -> tuple[dict[str, _Pupil], set[str]]:
        """Return the raters, and which images taught one of them."""
        pupils: dict[str, _Pupil] = {}
        used: set[str] = set()
        for name in names:
            if self._attempt(name, partial(self._work_through, order, pupils)):
                used.add(name)
            most = max(self._config.images)
            if pupils and all(pupil.images >= most for pupil in pupils.values()):
                break
        return pupils, used

    def _work_through(self, order: int, pupils: dict[str, _Pupil], case: Case) -> bool:
        """Let each rater who is not done work through an image; say whether one did."""
        rated = choose_objects(case, self._config.protocol)
        anybody = False
        for rater in case.raters:
            pupil = pupils.setdefault(rater, _Pupil())
            mine = [each for each in rated if rater in each.raters]
            if not mine or pupil.images >= max(self._config.images):
                continue
            anybody = True
            number = pupil.images + 1
            profile = self._files.profile(order, rater, number)
            if profile is None:
                profile = self._play(case, rater, mine, pupil.profile)
                self._files.keep_profile(order, rater, number, profile)
            pupil.images, pupil.profile = number, profile
            if number in self._config.images:
                pupil.kept[number] = profile
        return anybody

    def _play(
        self,
        case: Case,
        rater: str,
        objects: Sequence[RatedMasks],
        profile: PreferenceProfile | None,
    ) -> PreferenceProfile:
        """Accept one rater's objects of an image, as a user in front of it would."""
        session = self._session(profile)
        session.set_image(case.image)
        for rated in objects:
            wanted = rated.masks[rated.raters.index(rater)]
            proposal = self._start(session, case.name, rated)
            for _ in range(self._config.protocol.rounds - 1):
                if not proposal.candidates:
                    break
                offered = [candidate.mask for candidate in proposal.candidates]
                proposal = session.pick(pick_nearest(offered, wanted))
            profile = session.accept().profile
        if profile is None:
            raise RuntimeError("there was a target")
        return profile

    # ---------------------------------------------------------------- testing

    def _test(self, order: int, pupils: dict[str, _Pupil], case: Case) -> Tested:
        tested = self._files.tested(order, case.name)
        if tested is None:
            tested = self._propose_all(order, pupils, case)
            self._files.keep_tested(order, case.name, tested)
        return tested

    def _propose_all(self, order: int, pupils: dict[str, _Pupil], case: Case) -> Tested:
        taught = [
            (images, rater, profile)
            for rater, pupil in pupils.items()
            for images, profile in pupil.kept.items()
        ]
        rows: list[TransferRow] = []
        agreements: list[Agreement] = []
        for rated in choose_objects(case, self._config.protocol):
            number, marked = rated.object, list(zip(rated.raters, rated.masks, strict=True))
            for (first, one), (second, other) in combinations(marked, 2):
                agreements.append(Agreement(case.name, number, first, second, dice(one, other)))
            for images, teacher, profile in [(0, "", None), *taught]:
                session = self._session(profile)
                session.set_image(case.image)  # again: every first round has the same seed
                mask = self._start(session, case.name, rated).mask
                rows += [
                    TransferRow(case.name, number, order, images, teacher, rater, dice(mask, own))
                    for rater, own in marked
                ]
        return Tested(tuple(rows), tuple(agreements))

    # ---------------------------------------------------------------- both

    def _session(self, profile: PreferenceProfile | None) -> RefinementSession:
        protocol = self._config.protocol
        return RefinementSession(
            self._model, profile, protocol.seed, config=protocol.engine, cache=self._cache
        )

    def _start(self, session: RefinementSession, name: str, rated: RatedMasks) -> Proposal:
        """Start an object where all agree, the same for all raters and profiles."""
        click = first_click(rated.masks, seeded(self._config.protocol, name, rated.object))
        box = None
        if self._config.box:
            box = wider_box(np.asarray(rated.masks.any(axis=0)))
        return session.start([(click.row, click.column)], [click.label], box)


def wider_box(mask: BoolArray) -> tuple[float, float, float, float]:
    """Return a box around a mask, a tenth wider on each side, within the image.

    Parameters
    ----------
    mask : ndarray of shape (H, W)
        bool, not empty.

    Returns
    -------
    (row0, column0, row1, column1)
    """
    found = Region.bounding(mask)
    rows, columns = _MARGIN * found.height, _MARGIN * found.width
    height, width = mask.shape
    return (
        max(found.row - rows, 0.0),
        max(found.column - columns, 0.0),
        min(found.row + found.height - 1 + rows, height - 1.0),
        min(found.column + found.width - 1 + columns, width - 1.0),
    )
