"""What profiles learnt on some images give on others (paper 4.3.2): played, kept, reported.

    python benchmarks/profile_transfer.py SET --split all --images 1,2,5,10 -o REPORT

Each rater works through the images of a multi-rater folder in random orders; after so many of
them the profile is tested on images that it has not seen.  What REPORT holds is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import numpy as np

from napari_spa.core.measures import dice, pick_nearest
from napari_spa.core.objects import agreed_area
from napari_spa.core.types import Region
from napari_spa.datasets import open_folder
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.evaluate.measures import (
    EvaluateConfig,
    Interval,
    bootstrap,
    choose_names,
    choose_objects,
    seeded,
)
from napari_spa.evaluate.report import cells
from napari_spa.evaluate.tables import markdown_table, spread
from napari_spa.evaluate.users import corrective_click, place_click
from napari_spa.io.embeddings import EmbeddingCache
from napari_spa.io.files import atomic_path, write_csv
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine import preference
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_spa.core.types import BoolArray, Proposal
    from napari_spa.datasets import Case, CaseFolder
    from napari_spa.evaluate.measures import RatedMasks
    from napari_spa.io.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A first round on an image that no profile has seen."""

    image: str  # name of the case
    target: int  # number of the object in its image
    order: int  # 1, 2,
    images: int  # so many images taught the profile; 0 without one
    teacher: str  # the rater who taught it; empty without one
    user: str  # the rater with whom it is compared
    dice: float  # of the recommended mask with the user's own


@dataclass(frozen=True, slots=True)
class Agreement:
    """Dice between two raters' masks of one target."""

    image: str
    target: int
    first: str
    second: str
    dice: float


@dataclass(frozen=True, slots=True)
class Tested:
    """All first rounds on one image in one order."""

    rows: tuple[TransferRow, ...]
    agreements: tuple[Agreement, ...]


class TransferFiles:
    """Profiles and tested images on disk, each whole or not there."""

    def __init__(self, folder: Path | None, plan: Mapping[str, object]) -> None:
        self._folder = folder
        if folder is None:
            return
        text, path = json.dumps(plan, indent=1), folder / "plan.json"
        known = _read(path)
        if known is not None and known != text:
            raise InputError(
                f"{folder} holds a transfer experiment with other settings; "
                "choose another folder, or delete it."
            )
        if known is None:
            _write(path, text)

    def profile(self, order: int, rater: str, images: int) -> PreferenceProfile | None:
        """Return a rater's profile after so many images of an order, if it is known."""
        path = self._profile_path(order, rater, images)
        return PreferenceProfile.load(path) if path is not None and path.exists() else None

    def keep_profile(self, order: int, rater: str, images: int, profile: PreferenceProfile) -> None:
        """Keep a profile."""
        path = self._profile_path(order, rater, images)
        if path is not None:
            profile.save(path)

    def tested(self, order: int, name: str) -> Tested | None:
        """Return the first rounds on an image, if they are known."""
        path = self._tested_path(order, name)
        text = None if path is None else _read(path)
        if text is None:
            return None
        content = json.loads(text)
        return Tested(
            tuple(TransferRow(**row) for row in content["rows"]),
            tuple(Agreement(**pair) for pair in content["agreements"]),
        )

    def keep_tested(self, order: int, name: str, tested: Tested) -> None:
        """Keep the first rounds on an image."""
        path = self._tested_path(order, name)
        if path is not None:
            _write(path, json.dumps(asdict(tested)))

    def _profile_path(self, order: int, rater: str, images: int) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"order-{order}" / quote(rater, safe=" ") / f"after-{images}.json"

    def _tested_path(self, order: int, name: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"order-{order}" / f"{quote(name, safe=' ')}.tested.json"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
    # From this Dice on a user accepts what is shown, and before it clicks into the largest error;
    # None: they pick what is nearer, and do not click.
    clicks_until: float | None = None
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


_LEARNING = (
    *("PRIOR_PICKS", "REACH", "MOST_PICKS", "CORRECTED_COUNTS", "MOST_OF_IMAGE"),
    *("SAME_OBJECT", "MOST_SHIFT", "SIZES_OF_IMAGE", "SIZES_KEPT", "ELSEWHERE"),
)
"""The numbers of the learning rule; results of two rules are not mixed."""


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
        "user": "approves" if config.clicks_until is None else f"clicks to {config.clicks_until}",
        "seed": protocol.seed,
        "engine": asdict(protocol.engine),
        "learning": {name.lower(): getattr(preference, name) for name in _LEARNING},
    }


@dataclass(slots=True)
class _Learner:
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
            learners, used = self._teach(order, shuffled)
            unseen = [name for name in shuffled if name not in used]
            for name in unseen[: self._config.protocol.limit]:
                tested = self._attempt(name, partial(self._test, order, learners))
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

    def _teach(self, order: int, names: Sequence[str]) -> tuple[dict[str, _Learner], set[str]]:
        """Return the raters, and which images taught one of them."""
        learners: dict[str, _Learner] = {}
        used: set[str] = set()
        for name in names:
            if self._attempt(name, partial(self._work_through, order, learners)):
                used.add(name)
            most = max(self._config.images)
            if learners and all(learner.images >= most for learner in learners.values()):
                break
        return learners, used

    def _work_through(self, order: int, learners: dict[str, _Learner], case: Case) -> bool:
        """Let each rater who is not done work through an image; say whether one did."""
        rated = choose_objects(case, self._config.protocol)
        anybody = False
        for rater in case.raters:
            learner = learners.setdefault(rater, _Learner())
            mine = [each for each in rated if rater in each.raters]
            if not mine or learner.images >= max(self._config.images):
                continue
            anybody = True
            number = learner.images + 1
            profile = self._files.profile(order, rater, number)
            if profile is None:
                profile = self._play(case, rater, mine, learner.profile)
                self._files.keep_profile(order, rater, number, profile)
            learner.images, learner.profile = number, profile
            if number in self._config.images:
                learner.kept[number] = profile
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
                following = self._act(session, proposal, wanted)
                if following is None:
                    break  # as in the dock: what is right is accepted
                proposal = following
            profile = session.accept().profile
        if profile is None:
            raise RuntimeError("there was a target")
        return profile

    def _act(
        self, session: RefinementSession, proposal: Proposal, wanted: BoolArray
    ) -> Proposal | None:
        """Do what brings a proposal nearer to what is wanted; None where nothing does."""
        shown, until = dice(proposal.mask, wanted), self._config.clicks_until
        if until is not None:
            rng = seeded(self._config.protocol)  # not used: the click is the innermost one
            click = corrective_click(proposal.mask, wanted, "central", rng)
            if shown >= until or click is None:
                return None
            return session.click((click.row, click.column), click.label)
        offered = [candidate.mask for candidate in proposal.candidates]
        if not offered:
            return None
        nearest = pick_nearest(offered, wanted)
        return session.pick(nearest) if dice(offered[nearest], wanted) > shown else None

    # ---------------------------------------------------------------- testing

    def _test(self, order: int, learners: dict[str, _Learner], case: Case) -> Tested:
        tested = self._files.tested(order, case.name)
        if tested is None:
            tested = self._propose_all(order, learners, case)
            self._files.keep_tested(order, case.name, tested)
        return tested

    def _propose_all(self, order: int, learners: dict[str, _Learner], case: Case) -> Tested:
        taught = [
            (images, rater, profile)
            for rater, learner in learners.items()
            for images, profile in learner.kept.items()
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
        rng = seeded(self._config.protocol, name, rated.object)
        point = place_click(agreed_area(rated.masks), "uniform", rng)
        box = None
        if self._config.box:
            box = wider_box(np.asarray(rated.masks.any(axis=0)))
        return session.start([point], [1], box)


def wider_box(mask: BoolArray) -> tuple[float, float, float, float]:
    """Return a box around a mask, (row0, column0, row1, column1), a tenth wider on each side."""
    found = Region.bounding(mask)
    rows, columns = _MARGIN * found.height, _MARGIN * found.width
    height, width = mask.shape
    return (
        max(found.row - rows, 0.0),
        max(found.column - columns, 0.0),
        min(found.row + found.height - 1 + rows, height - 1.0),
        min(found.column + found.width - 1 + columns, width - 1.0),
    )


DIFFERENT = 0.9
"""Two raters differ when the mean Dice between their masks is below this."""
PLAIN = ("none", "own", "other")
PAIRED = ("own - none", "other - none", "own - other")
EVERYBODY = ""
"""The user of a summary over all raters."""


@dataclass(frozen=True, slots=True)
class Effect:
    """First-round Dice, or a paired difference of it."""

    # Which profile: none, the user's own, or another's: the mean over all raters who differ from
    # the user.
    what: str
    images: int  # so many images taught the profiles
    user: str  # the rater, or empty for all
    value: Interval  # drawn over images


def agreement_between(agreements: Iterable[Agreement]) -> dict[tuple[str, str], float]:
    """Return the mean Dice of each pair of raters."""
    found: dict[tuple[str, str], dict[tuple[str, int], float]] = defaultdict(dict)
    for pair in agreements:  # the same image may be tested in several orders
        found[pair.first, pair.second][pair.image, pair.target] = pair.dice
    return {pair: float(np.mean(list(values.values()))) for pair, values in found.items()}


def summarise_transfer(
    rows: Sequence[TransferRow], agreements: Sequence[Agreement], *, seed: int = 0
) -> list[Effect]:
    """Compare first rounds without a profile, with one's own, and with another's."""
    table = TransferTable(rows, agreements)
    users = list(dict.fromkeys(row.user for row in rows))
    found: list[Effect] = []
    for images in sorted({row.images for row in rows} - {0}):
        for user in (EVERYBODY, *users):
            for what in (*PLAIN, *PAIRED):
                values, names = table.values(what, images, user)
                if values:
                    interval = bootstrap(values, names, seed=seed)
                    found.append(Effect(what, images, user, interval))
    return found


_Key = tuple[str, int, int, str]  # image, target, order, user


class TransferTable:
    """Rows by what was compared; another's profile is the mean over those who differ."""

    def __init__(self, rows: Iterable[TransferRow], agreements: Iterable[Agreement]) -> None:
        between = agreement_between(agreements)
        differ = {pair for pair, value in between.items() if value < DIFFERENT}
        differ |= {(second, first) for first, second in differ}
        self._none: dict[_Key, float] = {}
        self._own: dict[tuple[_Key, int], float] = {}
        others: dict[tuple[_Key, int], list[float]] = defaultdict(list)
        for row in rows:
            key = row.image, row.target, row.order, row.user
            if not row.images:
                self._none[key] = row.dice
            elif row.teacher == row.user:
                self._own[key, row.images] = row.dice
            elif (row.teacher, row.user) in differ:
                others[key, row.images].append(row.dice)
        self._other = {key: float(np.mean(values)) for key, values in others.items()}

    def values(
        self, what: str, images: int, user: str = EVERYBODY
    ) -> tuple[list[float], list[str]]:
        """Return one value per image, target, order and user, and the images."""
        values, names = [], []
        for key, none in self._none.items():
            if user not in (EVERYBODY, key[3]) or (key, images) not in self._own:
                continue
            known = {"none": none, "own": self._own[key, images]}
            if (key, images) in self._other:
                known["other"] = self._other[key, images]
            first, _, second = what.partition(" - ")
            if first in known and second in (*known, ""):
                values.append(known[first] - (known[second] if second else 0.0))
                names.append(key[0])
        return values, names


def write_transfer(
    rows: Sequence[TransferRow],
    agreements: Sequence[Agreement],
    folder: Path,
    *,
    facts: Mapping[str, object] | None = None,
    seed: int = 0,
) -> list[Effect]:
    """Write ``transfer-rows.csv``, ``agreement.csv``, ``effects.csv`` and ``transfer.md``."""
    effects = summarise_transfer(rows, agreements, seed=seed)
    for name, kind, values in (
        ("transfer-rows.csv", TransferRow, rows),
        ("agreement.csv", Agreement, agreements),
    ):
        header = [field.name for field in fields(kind)]
        write_csv(folder / name, header, (cells(asdict(value)) for value in values))
    write_csv(
        folder / "effects.csv",
        ["what", "images", "user", *(field.name for field in fields(Interval))],
        ([e.what, e.images, e.user, *cells(asdict(e.value))] for e in effects),
    )
    with atomic_path(folder / "transfer.md") as path:
        path.write_text(transfer_markdown(effects, agreements, facts or {}), encoding="utf-8")
    return effects


def transfer_markdown(
    effects: Sequence[Effect], agreements: Sequence[Agreement], facts: Mapping[str, object]
) -> str:
    """Write the report as Markdown."""
    between = agreement_between(agreements)
    mean = float(np.mean(list(between.values()))) if between else float("nan")
    users = list(dict.fromkeys(effect.user for effect in effects if effect.user))
    lines = ["# Transfer of profiles between images", ""]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    lines += [
        f"* mean Dice between two raters: {mean:.3f}",
        "",
        "First-round Dice on images that no profile has seen; differences in points. Another's:",
        f"the mean over the raters who differ from the user (mean Dice below {DIFFERENT}). In",
        "parentheses: bootstrap 95 % intervals, drawn over images.",
        "",
        *_effects_table(effects, EVERYBODY),
        "",
        "## Own minus none, by rater",
        "",
        *_raters_table(effects, users),
    ]
    return "\n".join(lines) + "\n"


def _effects_table(effects: Sequence[Effect], user: str) -> list[str]:
    by_images: dict[int, dict[str, Interval]] = defaultdict(dict)
    for effect in effects:
        if effect.user == user:
            by_images[effect.images][effect.what] = effect.value
    rows = [
        [
            str(images),
            *(spread(found.get(what)) for what in PLAIN),
            *(spread(found.get(what), points=True) for what in PAIRED),
        ]
        for images, found in by_images.items()
    ]
    return markdown_table(["images", *PLAIN, *PAIRED], rows)


def _raters_table(effects: Sequence[Effect], users: Sequence[str]) -> list[str]:
    found = {(e.images, e.user): e.value for e in effects if e.what == "own - none"}
    numbers = sorted({images for images, _ in found})
    rows = [[user, *(spread(found.get((n, user)), points=True) for n in numbers)] for user in users]
    return markdown_table(["rater", *(f"{n} images" for n in numbers)], rows)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="SET", help="a multi-rater folder")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="REPORT")
    parser.add_argument("--images", default="1,2,5,10", help="images learnt from (1,2,5,10)")
    parser.add_argument("--orders", type=int, default=2, help="random orders (2)")
    parser.add_argument("--boxes", action="store_true", help="start with a loose box as well")
    parser.add_argument(
        "--clicks-until",
        type=float,
        metavar="DICE",
        help="the user clicks into errors until this Dice, and picks nothing (they pick)",
    )
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--split", default="val", help="which cases; 'all' for all (val)")
    parser.add_argument("--objects", action="store_true", help="each connected object counts")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--limit", type=int, help="images tested in each order")
    parser.add_argument("--targets", type=int, help="objects of each image")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        return _run(options)
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from napari_spa.io.models.load import load_model

    protocol = EvaluateConfig(
        split=None if options.split == "all" else options.split,
        objects=options.objects,
        rounds=options.rounds,
        limit=options.limit,
        targets=options.targets,
        seed=options.seed,
    )
    images = tuple(sorted({int(part) for part in options.images.split(",")}))
    config = TransferConfig(images, options.orders, options.boxes, options.clicks_until, protocol)
    model = load_model(options.model, device=options.device)
    failed: list[str] = []

    def leave_out(name: str, error: SpaError) -> None:
        failed.append(name)
        print(f"{name} was left out: {error}", file=sys.stderr)

    work = options.output / "transfer"
    experiment = transfer(model, open_folder(options.data), config, work=work, failed=leave_out)
    tested = list(tqdm(experiment, unit="image", desc="transfer", disable=None))
    if not tested:
        raise DataError(f"no image of {options.data} could be tested.")
    rows = [row for one in tested for row in one.rows]
    agreements = [pair for one in tested for pair in one.agreements]
    facts = {
        "data": options.data.name,
        "images": len({row.image for row in rows}),
        "orders": options.orders,
        "model": f"{model.identity.name} ({model.identity.sha256[:12]}), {model.device}",
        "settings": (
            f"split {protocol.split}, seed {protocol.seed}, limit {protocol.limit}, "
            f"started with {'a click and a loose box' if options.boxes else 'a click'}"
        ),
    }
    effects = write_transfer(rows, agreements, options.output, facts=facts, seed=protocol.seed)
    print(transfer_markdown(effects, agreements, facts))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
