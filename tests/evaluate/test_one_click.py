"""The benchmark of clicks, boxes and three users plays fairly, and its tables count rightly."""

import numpy as np
import pytest
from one_click import ACTS, COLUMNS, NEVER, Row, paired, play, reaching, signs, table
from tiny_model import make_model

from napari_spa import RefinementSession


def row(image, reached, of="a", **dice):
    """A row in which every user reaches 0.82 with the act ``reached``."""
    game = [0.82 if act >= reached else 0.5 for act in range(1, ACTS + 2)]
    quality = [(0.6, real) for real in [game[0], *game[1:] * 3]]
    return Row("m", of, image, 1, dict.fromkeys(COLUMNS, 0.5) | dice, quality, [True, True], False)


def test_an_object_is_asked_for_in_every_way():
    session = RefinementSession(make_model(), seed=0)
    image, mask = np.random.default_rng(0).random((60, 70)), np.zeros((60, 70), dtype=bool)
    mask[20:35, 25:45] = True
    found = play(session, "set", "image", 3, image, mask)
    assert set(found.dice) == set(COLUMNS)
    assert all(0 <= value <= 1 for value in found.dice.values())
    assert found.quality[0][1] == found.dice["click"]
    assert found.quality[ACTS][1] == found.dice["picks_5"]
    assert found.dice["best_of_five"] >= found.dice["click"]
    assert all(found.obeyed)


def test_acts_are_counted_with_the_first_click():
    rows = [row("x", 1), row("y", 3), row("z", 9)]
    *_, line = reaching(rows)
    mean = (1 + 3 + NEVER) / 3
    assert line == f"| both | {mean:.1f}, 67% | 10.0, 0% | 10.0, 0% |"


def test_sets_count_alike_and_pairs_are_of_the_same_objects():
    rows = [row("x", 1, click=1.0), row("y", 1, click=0.0), row("z", 1, of="b", click=0.9)]
    assert table(rows)[-1].split("|")[3].split()[0] == "0.700"  # of 0.5 and 0.9
    before = [row("x", 1, click=0.9), row("z", 1, of="b", click=0.7)]  # nothing of y
    line = paired(rows, before)[2].split("|")
    assert [line[1].strip(), line[2].split()[0]] == ["click", "+15.00"]
    assert "1.0000 of 6" in signs(rows)[0]


@pytest.mark.parametrize("reals", [(0.2, 0.8), (0.8, 0.2)])
def test_the_error_of_the_expected_dice_has_no_sign(reals):
    rows = [Row("m", "a", "x", 1, {}, [(0.5, real) for real in reals], [True], False)]
    assert "error of the expected Dice: 0.300" in signs(rows)[2]
