"""The protocol of the paper, played over a multi-rater folder, and the games kept on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from napari_spa.core.objects import agreed_area
from napari_spa.core.types import Box, Click
from napari_spa.datasets import Case, CaseFolder, case_groups, open_folder
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.evaluate.measures import (
    EvaluateConfig,
    Game,
    RatedMasks,
    RaterRow,
    Row,
    Seat,
    choose_names,
    choose_objects,
    combine_raters,
    measure_game,
    seeded,
)
from napari_spa.evaluate.methods import (
    METHODS,
    Method,
    MethodContext,
    MethodEntry,
    Segmenter,
    find_method,
)
from napari_spa.evaluate.users import (
    CLICK_STYLES,
    HABITS,
    Action,
    ClickStyle,
    Observation,
    User,
    check_habits,
    place_click,
)
from napari_spa.io.embeddings import digest_arrays
from napari_spa.io.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Played:
    """The rows of some games."""

    rows: list[Row]  # one for each image, object, target, method, user, way of clicking, and round
    agreement: list[RaterRow]  # the same for each rater

    @classmethod
    def joined(cls, parts: Sequence[Played]) -> Played:
        """Return the rows of all parts, in their order."""
        rows = [row for part in parts for row in part.rows]
        return cls(rows, [row for part in parts for row in part.agreement])


class GameFiles:
    """One method's and user's games on disk: a file for each image, whole or not there."""

    def __init__(self, folder: Path, seat: Seat, plan: Mapping[str, object]) -> None:
        self._plan: Mapping[str, object] = json.loads(json.dumps(plan))
        self._folder = folder / "games" / f"{seat.method}_{seat.user}_{seat.clicks}"
        kept = _read(self._folder / "plan.json")
        if kept is not None and kept != self._plan:
            other = [key for key, value in self._plan.items() if kept.get(key) != value]
            raise InputError(
                f"{folder} holds games of {seat.method} with another {' and '.join(other)}; "
                "choose another folder for the report, or delete its folder 'games'."
            )

    def read(self, name: str, digest: str) -> Played | None:
        """Return an image's games, where they were played on the case of this digest."""
        path = self._path(name)
        content = _read(path)
        try:
            if content is None or content.get("case") != digest:
                return None
            return Played(
                [Row(**row) for row in content["rows"]],
                [RaterRow(**row) for row in content["agreement"]],
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged; delete it to play that image again.") from error

    def keep(self, name: str, digest: str, played: Played) -> None:
        """Write an image's games."""
        if not (self._folder / "plan.json").exists():
            write_text(self._folder / "plan.json", json.dumps(self._plan))
        write_text(self._path(name), json.dumps({"case": digest, **asdict(played)}))

    def _path(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe=' ')}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it to do it again.") from error
    return content


def evaluate(
    context: MethodContext,
    folder: CaseFolder | Path | str,
    config: EvaluateConfig | None = None,
    *,
    registry: Mapping[str, MethodEntry] = METHODS,
    work: Path | None = None,
    failed: Callable[[str, SpaError], None] | None = None,
) -> Iterator[Played]:
    """Play every method with every user over a multi-rater folder.

    The first click is drawn from the area on which all raters agree and is the same for
    all users and methods of an object; what changes between two rows of one round is only
    what is compared.  The arguments are checked at once.
    """
    config = config or EvaluateConfig()
    _check(config, registry)
    opened = open_folder(folder) if isinstance(folder, (str, Path)) else folder
    names = choose_names(opened, config)
    entries = {name: find_method(name, registry) for name in config.methods}
    methods = {name: entry.build(context) for name, entry in entries.items()}
    seats = _seats(config, entries, methods)
    files = {
        seat: None
        if work is None
        else GameFiles(work, seat, _plan(context, config, methods[seat.method]))
        for seat in seats
    }
    groups = case_groups(opened, names)

    def play(name: str) -> Played:
        """Return all games of an image: read where they were played, played where not."""
        case = opened.read(name)
        digest = digest_arrays([groups[name], *case.raters], [case.image, case.masks])
        known = {
            seat: None if kept is None else kept.read(name, digest) for seat, kept in files.items()
        }
        if None in known.values():
            fresh = context.fresh()
            objects = choose_objects(case, config)
            for seat, kept in files.items():
                if known[seat] is None:
                    method = methods[seat.method]
                    games = _play(seat, method, case, objects, groups[name], config, fresh)
                    known[seat] = games
                    if kept is not None:
                        kept.keep(name, digest, games)
        return Played.joined([played for played in known.values() if played is not None])

    return _outcomes(play, names, failed)


def _outcomes(
    play: Callable[[str], Played],
    names: Sequence[str],
    failed: Callable[[str, SpaError], None] | None,
) -> Iterator[Played]:
    for name in names:
        try:
            played = play(name)
        except SpaError as error:
            if failed is None:
                raise
            failed(name, error)
        else:
            yield played


def _check(config: EvaluateConfig, registry: Mapping[str, MethodEntry]) -> None:
    for name in config.methods or ("",):
        find_method(name, registry)
    check_habits(config.users or ())
    wrong = [style for style in config.clicks if style not in CLICK_STYLES]
    if wrong or not config.clicks:
        raise InputError(
            f"unknown clicks {', '.join(wrong) or 'none'}; choose of {', '.join(CLICK_STYLES)}."
        )


def _seats(
    config: EvaluateConfig, entries: Mapping[str, MethodEntry], methods: Mapping[str, Method]
) -> list[Seat]:
    """Pair methods with users: those who can play it, or else the method's own."""
    seats = []
    for name, method in methods.items():
        own = entries[name].user
        able = [user for user in config.users or () if HABITS[user].currencies & method.currencies]
        fixed = own == "random"  # blind picks are what this method is about
        for user in (own,) if fixed or not able else able:
            seats += [Seat(name, user, style) for style in config.clicks]
    return seats


def _plan(context: MethodContext, config: EvaluateConfig, method: Method) -> dict[str, object]:
    """Return what decides a game, besides its image: not how many are played."""
    return {
        "model": asdict(context.model.identity),
        "method": dict(method.facts),
        "objects": config.objects,
        "combinations": config.combinations,
        "targets": config.targets,
        "rounds": config.rounds,
        "seed": config.seed,
        "engine": asdict(config.engine),
    }


def _play(
    seat: Seat,
    method: Method,
    case: Case,
    objects: Sequence[RatedMasks],
    group: str,
    config: EvaluateConfig,
    context: MethodContext,
) -> Played:
    """Play all games of a seat on an image."""
    segmenter, style = method.open(case.image, context), cast("ClickStyle", seat.clicks)
    parts = []
    for rated in objects:
        rng = seeded(config, case.name, rated.object, "click", seat.clicks)
        row, column = place_click(agreed_area(rated.masks), style, rng)
        click = Click(float(row), float(column), 1)
        for target in combine_raters(case.name, rated, config):
            rng = seeded(config, case.name, rated.object, target.name, seat.user, seat.clicks)
            user = User(target.mask, rng, seat.user, style)
            turns = list(play_rounds(method, segmenter, click, user, config.rounds))
            game = Game(case.name, group, rated.object, target.name, **asdict(seat))
            parts.append(Played(*measure_game(game, turns, target, rated, config.rounds)))
    return Played.joined(parts)


def play_rounds(
    method: Method, segmenter: Segmenter, click: Click, user: User, rounds: int
) -> Iterator[tuple[Observation, Action | None]]:
    """Play round after round; fewer when the user or the method has nothing more to do."""
    box = user.begin(method.currencies)
    shown = segmenter.start(click, box)
    for _ in range(rounds - 1):
        act = user.act(shown, method.currencies, box) if method.currencies else None
        if act is None:
            break
        yield shown, act
        box = act if isinstance(act, Box) else box
        shown = segmenter.act(act)
    yield shown, None
