"""Tests of the protocol: a tiny random network, and made-up methods with known masks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from napari_spa.core.types import Box, Click
from napari_spa.datasets import open_folder
from napari_spa.errors import DataError, InputError
from napari_spa.evaluate.measures import EvaluateConfig
from napari_spa.evaluate.methods import METHODS, MethodEntry
from napari_spa.evaluate.protocol import evaluate, play_rounds
from napari_spa.evaluate.users import Observation, Pick, User

from .conftest import disc

CONFIG = EvaluateConfig(
    split=None,
    rounds=3,
    combinations="raters",
    clicks=("uniform",),
    methods=("spa", "spa-frozen", "spa-random-pick"),
)


def play(context, folder, config=CONFIG, **options):
    parts = list(evaluate(context, folder, replace(config, engine=context.engine), **options))
    return [row for part in parts for row in part.rows]


def without_seconds(rows):
    return [repr(replace(row, seconds=0.0)) for row in rows]


def test_one_row_for_each_image_target_method_and_round(context, folder: Path) -> None:
    rows = play(context, folder)
    # Three raters marked b, two a; three methods, three rounds.
    assert len(rows) == (3 + 2) * 3 * 3
    assert len({(r.image, r.target, r.method, r.round) for r in rows}) == len(rows)
    assert {r.target for r in rows if r.image == "a"} == {"loose", "tight"}
    assert {(r.object, r.clicks) for r in rows} == {(0, "uniform")}
    assert {r.user for r in rows if r.method == "spa-random-pick"} == {"random"}
    for row in rows:
        assert 0 <= row.dice <= 1
        assert 0 <= row.uncertainty <= 1
        assert math.isnan(row.similarity) == (row.candidates < 2)
        assert row.act == ("none" if row.round == 3 or row.candidates == 0 else "pick")


def test_every_combination_of_raters_is_a_user(context, folder: Path) -> None:
    rows = play(context, folder, replace(CONFIG, combinations=15, rounds=1, methods=("spa",)))
    assert {r.target for r in rows if r.image == "b"} == {
        "blank", "loose", "tight", "blank+loose", "blank+tight", "loose+tight", "blank+loose+tight",
    }  # fmt: skip


def test_methods_and_users_share_the_click_and_the_first_round(context, folder: Path) -> None:
    rows = [r for r in play(context, folder) if r.round == 1]
    for image in ("a", "b"):
        first = [r for r in rows if r.image == image]
        assert len({(r.uncertainty, r.candidates, r.similarity) for r in first}) == 1
        assert len({(r.target, r.dice) for r in first}) == len({r.target for r in first})


def test_it_is_seeded(context, folder: Path) -> None:
    def figures(**changes) -> list[str]:
        return without_seconds(play(context, folder, replace(CONFIG, **changes)))

    assert figures() == figures()
    assert figures() != figures(seed=1)


def test_what_else_is_played_changes_nothing(context, folder: Path) -> None:
    both = [r for r in play(context, folder) if r.method == "spa-random-pick"]
    alone = play(context, folder, replace(CONFIG, methods=("spa-random-pick",)))
    assert without_seconds(both) == without_seconds(alone)


def test_users_play_with_the_methods_that_take_what_they_do(context, folder: Path) -> None:
    registry = {**METHODS, "fixed": MethodEntry("fixed", "", "looks", Fixed)}
    config = replace(
        CONFIG, users=("clicks", "both"), methods=("spa", "spa-random-pick", "fixed"), limit=1
    )
    rows = play(context, folder, config, registry=registry)
    assert {(r.method, r.user) for r in rows} == {
        ("spa", "clicks"),
        ("spa", "both"),
        ("spa-random-pick", "random"),
        ("fixed", "looks"),
    }
    assert {r.act for r in rows if (r.method, r.user) == ("spa", "clicks")} == {"click", "none"}


def test_both_ways_of_clicking_side_by_side(context, folder: Path) -> None:
    config = replace(CONFIG, clicks=("central", "realistic"), methods=("spa",), rounds=1)
    rows = play(context, folder, config)
    assert {r.clicks for r in rows} == {"central", "realistic"}
    alone = play(context, folder, replace(config, clicks=("realistic",)))
    assert without_seconds([r for r in rows if r.clicks == "realistic"]) == without_seconds(alone)


def test_objects_are_targets(context, folder: Path) -> None:
    config = replace(CONFIG, objects=True, rounds=1, methods=("spa",))
    rows = play(context, folder, config)
    assert {(r.image, r.object) for r in rows} == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}
    fewer = play(context, folder, replace(config, targets=1))
    assert len({(r.image, r.object) for r in fewer}) == 2
    assert {r.dice for r in fewer} <= {r.dice for r in rows}, "a subset, not another game"


class Fixed:
    """A method that gives one mask, and records what it was told."""

    currencies = frozenset()

    def __init__(self, context) -> None:
        self.facts = {"weights": "none"}
        self.told: list[object] = []

    def open(self, image, context):
        self.told.append(context)
        return self

    def start(self, click, box):
        self.told += [click, box]
        return Observation(disc(18, 14, 5))

    def act(self, act):
        raise AssertionError("it takes nothing")


class Recorder(Fixed):
    """A method that takes everything and always shows the same."""

    currencies = frozenset({"pick", "click", "box"})

    def start(self, click, box):
        self.told += [click, box]
        return Observation(disc(18, 14, 5), (disc(18, 14, 5), disc(18, 14, 8)))

    def act(self, act):
        self.told.append(act)
        return self.start(None, None)


@pytest.mark.parametrize(
    ("habit", "kind"), [("picks", Pick), ("clicks", Click), ("boxes", Box), ("slips-20", Pick)]
)
def test_a_game_is_what_its_user_does(context, habit: str, kind: type) -> None:
    method = Recorder(context)
    user = User(disc(18, 14, 8), np.random.default_rng(0), habit)
    turns = list(play_rounds(method, method, Click(18, 14, 1), user, 3))
    assert len(turns) == 3
    assert [type(act) for _, act in turns] == [kind, kind, type(None)]
    begins = isinstance(method.told[1], Box)
    assert begins == (habit == "boxes"), "a method that takes boxes has one of those who draw them"


def test_a_box_starts_our_session_and_can_be_drawn_again(context, folder: Path) -> None:
    rows = {
        users: play(context, folder, replace(CONFIG, methods=("spa",), users=(users,)))
        for users in ("approves", "boxed", "boxes")
    }
    assert {row.act for row in rows["boxes"]} <= {"box", "none"}
    assert {row.act for row in rows["boxed"]} <= {"pick", "none"}
    first = {users: [row.dice for row in part if row.round == 1] for users, part in rows.items()}
    assert first["approves"] not in (first["boxed"], first["boxes"])


def test_a_user_with_nothing_to_do_ends_the_game(context) -> None:
    method = Recorder(context)
    user = User(disc(18, 14, 5), np.random.default_rng(0), "clicks")
    assert len(list(play_rounds(method, method, Click(18, 14, 1), user, 6))) == 1


def test_the_click_is_where_all_raters_agree(context, folder: Path) -> None:
    method = Fixed(context)
    registry = {"fixed": MethodEntry("fixed", "", "looks", lambda context: method)}
    config = replace(CONFIG, methods=("fixed",), objects=True)
    rows = play(context, folder, config, registry=registry)
    assert {row.user for row in rows} == {"looks"}
    agreed = open_folder(folder).read("b").masks.all(axis=0)
    clicks = [told for told in method.told if isinstance(told, Click)][2 * 2 :]
    assert len(clicks) == 2 * 3
    assert len(set(clicks)) == 2, "the same click for every user of an object"
    assert all(agreed[int(c.row), int(c.column)] for c in clicks)


def test_frozen_keeps_the_mixture_and_spa_does_not(context, folder: Path) -> None:
    image, mixtures = open_folder(folder).read("b").image, {}
    for name in ("spa", "spa-frozen", "spa-gaussian", "spa-weights"):
        segmenter = METHODS[name].build(context).open(image, context.fresh())
        segmenter.start(Click(18.0, 14.0, 1), None)
        before = segmenter.session.mixture
        offered = segmenter.session._rounds.show(segmenter.session.timeline.state).feedback
        own = next(k for k, one in enumerate(offered) if one.hypothesis is None)
        segmenter.act(Pick(own))  # another object would teach nothing about the outline
        after = segmenter.session.mixture
        mixtures[name] = (
            not np.allclose(before.weights, after.weights, atol=1e-6),
            not np.allclose(before.means, after.means, atol=1e-6),
        )
    assert mixtures == {
        "spa": (True, True),
        "spa-frozen": (False, False),
        "spa-gaussian": (False, True),
        "spa-weights": (True, False),
    }


def test_a_standard_gaussian_is_all_that_random_sampling_has(context, folder: Path) -> None:
    segmenter = METHODS["spa-random-gaussian"].build(context).open(disc(18, 14, 5) * 1.0, context)
    segmenter.start(Click(18.0, 14.0, 1), None)
    mixture = segmenter.session.mixture
    assert (mixture.components, mixture.weights.tolist()) == (1, [1.0])
    assert not mixture.means.any()
    assert (mixture.variances == 1).all()


def test_the_number_of_samples_is_the_methods_own(context, folder: Path) -> None:
    for count in (24, 36, 48):
        segmenter = METHODS[f"spa-n{count}"].build(context).open(disc(18, 14, 5) * 1.0, context)
        assert segmenter.session.config.samples == count


def test_a_stopped_evaluation_goes_on_and_gives_the_same_table(
    context, folder: Path, tmp_path: Path
) -> None:
    whole = play(context, folder)
    work = tmp_path / "report"
    parts = evaluate(context, folder, replace(CONFIG, engine=context.engine), work=work)
    next(parts)
    parts.close()  # stopped after the first image
    (image,) = {path.stem for path in (work / "games").glob("spa_*/[!p]*.json")}
    first = work / "games" / "spa_picks_uniform" / f"{image}.json"
    stamp = first.stat().st_mtime_ns
    rest = play(context, folder, work=work)
    assert without_seconds(rest) == without_seconds(whole)
    assert first.stat().st_mtime_ns == stamp, "what was played is not played again"
    again = play(context, folder, work=work)
    assert list(map(repr, again)) == list(map(repr, rest)), "seconds too"


def test_a_method_can_be_added_to_a_report(context, folder: Path, tmp_path: Path) -> None:
    play(context, folder, replace(CONFIG, methods=("spa",)), work=tmp_path / "r")
    rows = play(context, folder, work=tmp_path / "r")
    assert without_seconds(rows) == without_seconds(play(context, folder))


def test_games_with_other_settings_are_not_mixed(context, folder: Path, tmp_path: Path) -> None:
    play(context, folder, work=tmp_path / "r")
    with pytest.raises(InputError, match="games of spa with another seed; choose another folder"):
        play(context, folder, replace(CONFIG, seed=1), work=tmp_path / "r")
    path = next((tmp_path / "r" / "games").glob("spa_*/a.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": [{}]}))
    with pytest.raises(DataError, match="damaged; delete it"):
        play(context, folder, work=tmp_path / "r")


@pytest.mark.parametrize("changed", ["images/a.png", "raters/tight/a.png", "split.csv", "games"])
def test_games_of_another_image_of_that_name_are_not_taken(
    context, folder: Path, tmp_path: Path, changed: str
) -> None:
    config = replace(CONFIG, rounds=1, methods=("spa",))
    play(context, folder, config, work=tmp_path / "r")
    if changed == "games":  # as they were kept before they said what they were played on
        for path in (tmp_path / "r").rglob("a.json"):
            kept = json.loads(path.read_text())
            del kept["case"]
            path.write_text(json.dumps(kept))
    elif changed == "split.csv":
        (folder / changed).write_text("name,split,patient\na,test,p\nb,test,p\n")
    else:
        picture = iio.imread(folder / changed)
        iio.imwrite(folder / changed, picture[:, ::-1])
    now = without_seconds(play(context, folder, config, work=tmp_path / "r"))
    assert now == without_seconds(play(context, folder, config))


def test_a_broken_case_is_left_out_and_named(context, folder: Path) -> None:
    (folder / "raters" / "loose" / "a.png").write_bytes(b"broken")
    config = replace(CONFIG, rounds=1, methods=("spa",))
    with pytest.raises(InputError, match="cannot be read"):
        play(context, folder, config)
    failed = {}
    rows = play(context, folder, config, failed=failed.__setitem__)
    assert {r.image for r in rows} == {"b"}
    assert list(failed) == ["a"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": ("spa", "magic")}, "unknown method magic"),
        ({"methods": ()}, "unknown method"),
        ({"users": ("no one",)}, "unknown user no one"),
        ({"clicks": ("anywhere",)}, "unknown clicks anywhere"),
    ],
)
def test_an_impossible_configuration_is_one_sentence(
    context, folder: Path, changes, sentence
) -> None:
    with pytest.raises(InputError, match=sentence):
        play(context, folder, replace(CONFIG, **changes))


def test_an_empty_split_is_one_sentence(context, folder: Path) -> None:
    (folder / "split.csv").write_text("name,split\na,train\nb,train\n")
    with pytest.raises(DataError, match="no image of the split 'val'"):
        play(context, folder, replace(CONFIG, split="val"))
