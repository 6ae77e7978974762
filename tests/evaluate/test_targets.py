"""Tests of targets: combinations of raters, objects, subsets and patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_spa.datasets import CaseFolder, case_groups, open_folder
from napari_spa.evaluate.measures import (
    EvaluateConfig,
    RatedMasks,
    choose_names,
    choose_objects,
    combine_raters,
)

CONFIG = EvaluateConfig()


def rated(raters: int) -> RatedMasks:
    names = tuple(f"r{index}" for index in range(raters))
    masks = np.random.default_rng(0).random((raters, 12, 12)) < 0.5
    return RatedMasks(0, names, masks)


def test_four_raters_are_fifteen_users() -> None:
    targets = combine_raters("a", rated(4), CONFIG)
    assert len(targets) == 15
    assert len({target.name for target in targets}) == 15
    assert [target.name for target in targets[:5]] == ["r0", "r1", "r2", "r3", "r0+r1"]
    masks = rated(4).masks
    for target in targets:
        chosen = masks[[int(name[1]) for name in target.raters]]
        np.testing.assert_array_equal(target.mask, chosen.mean(axis=0) >= 0.5)


def test_many_raters_are_a_seeded_draw_of_combinations() -> None:
    everyone = combine_raters("a", rated(7), replace(CONFIG, combinations="all"))
    assert len(everyone) == 127
    drawn = [combine_raters("a", rated(7), replace(CONFIG, seed=seed)) for seed in (0, 0, 1)]
    names = [[target.name for target in targets] for targets in drawn]
    assert names[0] == names[1] != names[2]
    assert len(names[0]) == 15
    assert set(names[0]) <= {target.name for target in everyone}
    single = combine_raters("a", rated(7), replace(CONFIG, combinations="raters"))
    assert [target.name for target in single] == [f"r{index}" for index in range(7)]


def test_what_nobody_marked_together_is_no_target() -> None:
    masks = np.zeros((3, 6, 6), bool)
    masks[0, 0, 0] = masks[1, 2, 2] = masks[2, 4, 4] = True
    targets = combine_raters("a", RatedMasks(0, ("x", "y", "z"), masks), CONFIG)
    assert "x+y+z" not in {target.name for target in targets}  # each pixel has one of three
    assert "x+y" in {target.name for target in targets}  # at least half


def test_objects_leave_out_raters_who_marked_nothing(folder) -> None:
    case = open_folder(folder).read("a")
    (whole,) = choose_objects(case, CONFIG)
    assert whole.raters == ("loose", "tight"), "blank marked nothing on a"
    objects = choose_objects(case, replace(CONFIG, objects=True))
    assert [each.object for each in objects] == [0, 1]
    fewer = choose_objects(case, replace(CONFIG, objects=True, targets=1))
    assert len(fewer) == 1
    assert fewer[0].object in (0, 1)


def test_limit_draws_a_seeded_subset() -> None:
    class Names:
        def names(self, split: str | None = None) -> list[str]:
            assert split == "val"
            return [f"{n:03}" for n in range(100)]

    chosen = [choose_names(Names(), EvaluateConfig(limit=10, seed=s)) for s in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0] == sorted(set(chosen[0]))
    assert len(chosen[0]) == 10
    assert len(choose_names(Names(), EvaluateConfig(limit=500))) == 100


def test_images_of_one_patient_are_one_group(folder) -> None:
    opened = open_folder(folder)
    assert case_groups(opened, ["a", "b"]) == {"a": "a", "b": "b"}
    (folder / "split.csv").write_text("name,split,patient\na,val,p1\nb,val,p1\n")
    assert case_groups(open_folder(folder), ["a", "b"]) == {"a": "p1", "b": "p1"}


def test_lidc_names_say_the_patient() -> None:
    names = ["LIDC-IDRI-0001_nodule-0_slice-1", "LIDC-IDRI-0001_nodule-1_slice-7", "other"]
    groups = case_groups(CaseFolder(reader=None), names)
    assert groups[names[0]] == groups[names[1]] == "LIDC-IDRI-0001"
    assert groups["other"] == "other"


@pytest.mark.parametrize("combinations", [1, 4])
def test_a_number_of_combinations(combinations: int) -> None:
    config = replace(CONFIG, combinations=combinations)
    assert len(combine_raters("a", rated(3), config)) == combinations
