"""Tests of simulated users: what they do with what they see, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from napari_spa.core.objects import agreed_area
from napari_spa.core.types import Box, Click
from napari_spa.errors import InputError
from napari_spa.evaluate.users import (
    HABITS,
    Observation,
    Pick,
    User,
    action_name,
    check_habits,
    corrective_click,
    place_click,
)

from .conftest import disc

ALL = frozenset({"pick", "click", "box"})


def user(wanted: np.ndarray, habit: str = "picks", seed: int = 0, **changes) -> User:
    return User(wanted, np.random.default_rng(seed), habit, **changes)


def test_a_central_click_is_the_deepest_pixel() -> None:
    assert place_click(disc(18, 14, 7), "central", np.random.default_rng(0)) == (18, 14)
    whole = np.ones((9, 9), bool)  # the image's edge is an edge of the object too
    assert place_click(whole, "central", np.random.default_rng(0)) == (4, 4)


def test_realistic_clicks_lie_between_central_and_uniform_ones() -> None:
    area = disc(100, 100, 60, (200, 200))
    mean = {}
    for style in ("uniform", "central", "realistic"):
        rng = np.random.default_rng(0)
        clicks = np.array([place_click(area, style, rng) for _ in range(400)])
        assert all(area[row, column] for row, column in clicks)
        mean[style] = np.hypot(*(clicks - 100).T).mean()
    # Uniform in a disc: 2/3 of the radius; density of the squared depth: 0.4 of it.
    assert mean["central"] == 0
    assert mean["uniform"] == pytest.approx(40, abs=2)
    assert mean["realistic"] == pytest.approx(24, abs=2)


def test_an_unsteady_hand_hits_thin_things_too() -> None:
    line = np.zeros((200, 200), bool)
    line[50, 20:180] = True
    rng = np.random.default_rng(0)
    clicks = {place_click(line, "realistic", rng) for _ in range(50)}
    assert len(clicks) > 20
    assert {row for row, _ in clicks} == {50}


def test_the_agreed_area_is_where_most_agree() -> None:
    apart = np.stack([disc(10, 10, 5), disc(10, 12, 5), disc(30, 45, 3)])
    np.testing.assert_array_equal(agreed_area(apart), apart[0] & apart[1])
    with pytest.raises(InputError, match="all masks are empty"):
        agreed_area(np.zeros((2, 8, 8), bool))


def test_a_corrective_click_goes_into_the_largest_error() -> None:
    wanted = disc(18, 14, 8)
    missing = wanted.copy()
    missing[:, :14] = False
    click = corrective_click(missing, wanted, "central", np.random.default_rng(0))
    assert click is not None
    assert (click.label, click.column < 14) == (1, True)
    too_much = wanted | disc(20, 40, 5)
    click = corrective_click(too_much, wanted, "central", np.random.default_rng(0))
    assert click == Click(20.0, 40.0, 0)
    assert corrective_click(wanted, wanted, "central", np.random.default_rng(0)) is None


def test_picks_are_the_nearest_and_slips_are_others() -> None:
    wanted = disc(18, 14, 7)
    shown = Observation(disc(18, 14, 5), (disc(18, 14, 5), disc(18, 14, 8), disc(30, 45, 3)))
    assert user(wanted).act(shown, ALL, None) == Pick(1)
    careless = user(wanted, "slips-20")
    picks = [careless.act(shown, ALL, None).index for _ in range(2000)]
    assert np.mean([pick != 1 for pick in picks]) == pytest.approx(0.2, abs=0.03)
    assert set(picks) == {0, 1, 2}
    blind = user(wanted, "random")
    counts = np.bincount([blind.act(shown, ALL, None).index for _ in range(1500)])
    assert counts.min() > 400
    assert user(wanted).act(Observation(wanted), ALL, None) is None, "nothing to pick from"


def test_both_picks_only_what_is_better_than_the_mask() -> None:
    wanted = disc(18, 14, 7)
    worse, better = disc(18, 14, 3), disc(18, 14, 7)
    act = user(wanted, "both", style="central").act(
        Observation(disc(18, 14, 5), (worse, better)), ALL, None
    )
    assert act == Pick(1)
    act = user(wanted, "both", style="central").act(
        Observation(disc(18, 14, 6), (worse,)), ALL, None
    )
    assert isinstance(act, Click)
    no_clicks = frozenset({"pick"})
    assert user(wanted, "both").act(Observation(disc(18, 14, 6), (worse,)), no_clicks, None) is None


def test_an_approving_user_picks_only_while_a_candidate_is_nearer() -> None:
    wanted = disc(18, 14, 7)
    worse, better = disc(18, 14, 3), disc(18, 14, 7)
    approving = user(wanted, "approves")
    assert approving.act(Observation(disc(18, 14, 5), (worse, better)), ALL, None) == Pick(1)
    assert approving.act(Observation(disc(18, 14, 6), (worse,)), ALL, None) is None
    as_near = Observation(disc(18, 14, 6), (disc(18, 14, 6),))
    assert approving.act(as_near, ALL, None) is None, "no nearer than what is recommended"


def test_only_users_of_boxes_draw_one_unless_the_method_takes_nothing_else() -> None:
    wanted = disc(18, 14, 7)
    assert isinstance(user(wanted, "boxed").begin(ALL), Box)
    assert user(wanted, "picks").begin(ALL) is None
    assert isinstance(user(wanted, "looks").begin(frozenset({"box"})), Box)
    assert user(wanted, "boxed").begin(frozenset({"click"})) is None


def test_a_boxed_user_picks_where_there_are_candidates_and_moves_the_box_elsewhere() -> None:
    wanted = disc(18, 14, 7)
    boxed = user(wanted, "boxed")
    box = boxed.draw_box()
    shown = Observation(disc(18, 14, 5), (disc(18, 14, 6),))
    assert boxed.act(shown, ALL, box) == Pick(0)
    assert boxed.act(Observation(disc(18, 14, 5)), ALL, box) is None
    assert isinstance(boxed.act(shown, frozenset({"box"}), box), Box)


def test_a_box_is_drawn_around_and_moved_by_what_is_seen() -> None:
    wanted = disc(18, 14, 7)
    drawn = user(wanted, "boxes").draw_box()
    assert drawn.row0 < 13
    assert drawn.row1 > 24
    short = wanted.copy()
    short[:, 18:] = False  # the mask ends 4 columns short on the right
    moved = user(wanted, "boxes").act(Observation(short), ALL, drawn)
    edges = [drawn.row0, drawn.column0, drawn.row1, drawn.column1 + 4]
    assert [moved.row0, moved.column0, moved.row1, moved.column1] == pytest.approx(edges)
    assert user(wanted, "boxes").act(Observation(wanted), ALL, drawn) is None
    assert isinstance(user(wanted, "boxes").act(Observation(wanted & False), ALL, drawn), Box)


def test_a_box_stays_in_the_image() -> None:
    for seed in range(30):
        everything = np.ones((12, 9), bool)
        box = user(everything, "boxes", seed).draw_box()
        assert 0 <= box.row0 < box.row1 <= 12
        assert 0 <= box.column0 < box.column1 <= 9
    dot = np.zeros((12, 9), bool)
    dot[11, 8] = True
    box = user(dot, "boxes").draw_box()
    assert (box.row1 - box.row0 >= 1, box.column1 - box.column0 >= 1) == (True, True)


def test_acts_and_habits_have_names() -> None:
    assert [action_name(act) for act in (Pick(0), Click(0, 0), Box(0, 0, 1, 1), None)] == [
        "pick",
        "click",
        "box",
        "none",
    ]
    check_habits(list(HABITS))
    with pytest.raises(
        InputError, match="unknown user no one; choose of picks, approves, boxed, clicks"
    ):
        check_habits(["no one"])
