"""Tests of the protocol: a tiny random network, and a made-up method with known masks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_spa.core.metrics import dice
from napari_spa.core.types import Candidate, Click, Proposal, Region
from napari_spa.datasets import open_folder
from napari_spa.errors import DataError, InputError
from napari_spa.evaluate.methods import METHODS, Stage, Turn, User
from napari_spa.evaluate.protocol import EvaluateConfig, choose_names, evaluate
from napari_spa.refine.engine.config import EngineConfig

from .conftest import disc

CONFIG = EvaluateConfig(rounds=3, engine=EngineConfig(samples=8))


def proposal(mask: np.ndarray, candidates: list[np.ndarray], number: int = 1) -> Proposal:
    height, width = mask.shape
    region = Region(0, 0, height, width)
    offered = tuple(Candidate(c, mask, region, mask.shape, 0.5) for c in candidates)
    return Proposal(mask.astype(np.float32), region, mask.shape, 0.5, 0.25, number, offered)


def test_one_row_for_each_image_user_method_and_round(model, folder: Path) -> None:
    rows = list(evaluate(model, folder, CONFIG))
    # Three users of b, two of a (one marked nothing), three methods, three rounds.
    assert len(rows) == (3 + 2) * 3 * 3
    assert len({(r.image, r.user, r.method, r.round) for r in rows}) == len(rows)
    assert {r.user for r in rows if r.image == "a"} == {"loose", "tight"}
    assert {(r.target, r.head) for r in rows} == {(0, "both")}
    for row in rows:
        assert 0 <= row.dice <= 1
        assert 0 <= row.uncertainty <= 1
        assert row.iou == pytest.approx(row.dice / (2 - row.dice))
        assert math.isnan(row.pairwise_dice) == (row.candidates < 2)
        assert (row.picked is None) == (row.round == 3)


def test_methods_and_users_share_the_click_and_the_first_round(model, folder: Path) -> None:
    rows = [r for r in evaluate(model, folder, CONFIG) if r.round == 1]
    for image in ("a", "b"):
        first = [r for r in rows if r.image == image]
        assert len({(r.uncertainty, r.candidates, r.pairwise_dice, r.seconds) for r in first}) == 1
        assert len({(r.user, r.dice) for r in first}) == len({r.user for r in first})


def test_it_is_seeded(model, folder: Path) -> None:
    def figures(**changes) -> list[tuple[float, ...]]:
        rows = evaluate(model, folder, replace(CONFIG, **changes))
        return [(r.dice, r.best_dice, r.uncertainty, r.picked or 0) for r in rows]

    assert figures() == figures()
    assert figures() == figures(workers=2), "images do not depend on each other"
    assert figures() != figures(seed=1)


def test_what_else_is_played_changes_nothing(model, folder: Path) -> None:
    both = [r for r in evaluate(model, folder, CONFIG) if r.method == "random"]
    alone = list(evaluate(model, folder, replace(CONFIG, methods=("random",))))
    assert [(r.dice, r.picked) for r in both] == [(r.dice, r.picked) for r in alone]


def test_heads_side_by_side(model, folder: Path) -> None:
    heads = ("latent", "logit", "both")
    config = replace(CONFIG, heads=heads, limit=1, rounds=2, methods=("spa",))
    rows = list(evaluate(model, folder, config))
    assert list(dict.fromkeys(r.head for r in rows)) == list(heads)
    assert len(rows) % 3 == 0


def test_objects_are_targets(model, folder: Path) -> None:
    config = replace(CONFIG, objects=True, rounds=1, methods=("spa",))
    rows = list(evaluate(model, folder, config))
    assert {(r.image, r.target) for r in rows} == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}
    fewer = list(evaluate(model, folder, replace(config, targets=1)))
    assert len({(r.image, r.target) for r in fewer}) == 2
    assert {r.dice for r in fewer} <= {r.dice for r in rows}, "a subset, not another game"


def test_limit_draws_a_seeded_subset(tmp_path: Path) -> None:
    class Names:
        def names(self, split: str | None = None) -> list[str]:
            assert split == "val"
            return [f"{n:03}" for n in range(100)]

    chosen = [choose_names(Names(), EvaluateConfig(limit=10, seed=s)) for s in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0] == sorted(set(chosen[0]))
    assert len(chosen[0]) == 10
    assert len(choose_names(Names(), EvaluateConfig(limit=500))) == 100


class Recorder:
    """A method with known masks, as a rival would be added."""

    def __init__(self, stage: Stage) -> None:
        self.clicks: list[Click] = []

    def play(self, click: Click, user: User, rounds: int) -> Iterator[Turn]:
        self.clicks.append(click)
        tight, loose, far = disc(18, 14, 5), disc(18, 14, 8), disc(30, 45, 4)
        yield Turn(proposal(tight, [far, tight, loose]), 1, 0.5)
        yield Turn(proposal(loose, []), None, 0.25)


def test_what_is_measured(model, folder: Path) -> None:
    registry = {**METHODS, "rival": Recorder}
    config = replace(CONFIG, methods=("rival",), rounds=4, objects=True)
    rows = [
        r
        for r in evaluate(model, folder, config, registry=registry)
        if (r.image, r.target, r.user) == ("b", 0, "loose")
    ]
    tight, loose, far = disc(18, 14, 5), disc(18, 14, 8), disc(30, 45, 4)
    assert [r.round for r in rows] == [1, 2, 3, 4], "a game that ends early keeps its mask"
    assert [r.dice for r in rows] == [pytest.approx(dice(tight, loose)), 1, 1, 1]
    assert rows[0].best_dice == 1
    assert rows[0].pairwise_dice == pytest.approx(
        np.median([dice(far, tight), dice(far, loose), dice(tight, loose)])
    )
    assert rows[0].plausible == pytest.approx(2 / 3)
    assert [(r.seconds, r.picked) for r in rows] == [(0.5, 1), (0.25, None), (0, None), (0, None)]
    assert rows[1].best_dice == 1
    assert math.isnan(rows[1].plausible)


def test_the_click_is_where_all_raters_agree(model, folder: Path) -> None:
    recorders: list[Recorder] = []

    def build(stage: Stage) -> Recorder:
        recorders.append(Recorder(stage))
        return recorders[-1]

    config = replace(CONFIG, methods=("rival",), objects=True)
    list(evaluate(model, folder, config, registry={"rival": build}))
    case = open_folder(folder).read("b")
    agreed = case.masks.all(axis=0)
    clicks = recorders[1].clicks
    assert len(clicks) == 2 * 3
    assert len(set(clicks)) == 2, "the same click for every user of a target"
    assert all(agreed[int(c.row), int(c.column)] for c in clicks)


def test_frozen_keeps_the_mixture_and_spa_does_not(model, folder: Path) -> None:
    case = open_folder(folder).read("b")
    stage = Stage(model, case.image, EngineConfig(samples=8), seed=0)
    truth = User(case.masks[0], np.random.default_rng(0))
    first = Click(18.0, 14.0, 1)
    mixtures = {}
    for name in ("spa", "frozen"):
        list(METHODS[name](stage).play(first, truth, 2))
        mixtures[name] = stage._session.mixture
    start, _ = stage.first_round(first, adapt=True)
    assert not np.array_equal(mixtures["spa"].weights, start.mixture.weights)
    np.testing.assert_array_equal(mixtures["frozen"].weights, start.mixture.weights)
    np.testing.assert_array_equal(mixtures["frozen"].means, start.mixture.means)


def test_users_pick_what_they_should() -> None:
    tight, loose = disc(18, 14, 5), disc(18, 14, 8)
    user = User(disc(18, 14, 7), np.random.default_rng(0))
    offered = proposal(tight, [tight, loose])
    assert user.nearest(offered) == 1
    assert {user.blindly(offered) for _ in range(20)} == {0, 1}


def test_a_broken_case_is_left_out_and_named(model, folder: Path) -> None:
    (folder / "raters" / "loose" / "a.png").write_bytes(b"broken")
    config = replace(CONFIG, rounds=1, methods=("spa",))
    with pytest.raises(InputError, match="cannot be read"):
        list(evaluate(model, folder, config))
    failed = {}
    rows = list(evaluate(model, folder, config, failed=failed.__setitem__))
    assert {r.image for r in rows} == {"b"}
    assert list(failed) == ["a"]


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"methods": ("spa", "magic")}, InputError, "unknown method magic"),
        ({"methods": ()}, InputError, "unknown method"),
        ({"heads": ("both", "third")}, InputError, "unknown head third"),
        ({"rounds": 0}, InputError, "rounds must be"),
        ({"limit": -1}, InputError, "limit must be"),
    ],
)
def test_an_impossible_configuration_is_one_sentence(
    model, folder: Path, changes, error, sentence
) -> None:
    with pytest.raises(error, match=sentence):
        list(evaluate(model, folder, replace(CONFIG, **changes)))


def test_an_empty_split_is_one_sentence(model, folder: Path) -> None:
    (folder / "split.csv").write_text("name,split\na,train\nb,train\n")
    with pytest.raises(DataError, match="no image of the split 'val'"):
        list(evaluate(model, folder, CONFIG))
