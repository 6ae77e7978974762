"""Tests of objects: labels and table agree after any acts, and all of them can be taken back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from random_acts import PLANES, SHAPE, acts, areas, blob, counted, do, part_on

from napari_spa.core.obedience import NO_EVIDENCE, Evidence
from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.refine.annotation.annotation import CHANGES_KEPT, Annotation, ArraySurface

FOREIGN = 90  # labels that were there before, of no object


def mask(top, left, height, width):
    return LocalMask(Region(top, left, height, width), np.ones((height, width), dtype=bool))


def stack(*, foreign=False):
    array = np.zeros(SHAPE, dtype=np.uint16)
    if foreign:
        array[:, 2:4, 3:8] = FOREIGN
    return array


@pytest.fixture
def array():
    return stack()


@pytest.fixture
def annotation(array):
    return Annotation(ArraySurface(array))


# ------------------------------------------------------------------------ any acts, in any order


@settings(max_examples=60)
@given(acts=acts)
def test_labels_and_table_agree_after_any_acts(acts):
    array = stack(foreign=True)
    annotation = Annotation(ArraySurface(array))
    for act in acts:
        before, table = array.copy(), areas(annotation)
        if not do(annotation, act):
            np.testing.assert_array_equal(array, before)
            assert areas(annotation) == table
        assert areas(annotation) == counted(array, {FOREIGN})
        for number, held in annotation.objects.items():
            for part in held.parts:
                pixels = annotation.pixels(number, part.plane)
                assert pixels.area == part.area == held.on(part.plane).area
                outside = array[part.plane.slices] == number
                outside[part.region.slices] = False
                assert not outside.any()
        assert list(annotation.objects) == sorted(annotation.objects)
        assert annotation.next_number > max(annotation.objects, default=0)


@settings(max_examples=60)
@given(acts=acts)
def test_undoing_all_gives_the_first_labels_and_redoing_all_the_last(acts):
    array = stack(foreign=True)
    first = array.copy()
    annotation = Annotation(ArraySurface(array))
    for act in acts:
        do(annotation, act)
    while do(annotation, ("redo",)):
        pass
    last, table = array.copy(), areas(annotation)
    while do(annotation, ("undo",)):
        pass
    np.testing.assert_array_equal(array, first)
    assert not annotation.objects
    while do(annotation, ("redo",)):
        pass
    np.testing.assert_array_equal(array, last)
    assert areas(annotation) == table


# --------------------------------------------------------------------------------- one act alone


def test_earlier_objects_are_protected_or_replaced(annotation, array):
    plane = PLANES[0]
    annotation.commit(1, part_on(plane), mask(0, 0, 4, 4))
    annotation.commit(2, part_on(plane), mask(2, 2, 4, 4))
    assert areas(annotation) == {1: {plane: 16}, 2: {plane: 12}}
    annotation.commit(3, part_on(plane), mask(0, 0, 9, 3), overlap="replace")
    assert areas(annotation) == {1: {plane: 4}, 2: {plane: 10}, 3: {plane: 27}}
    assert array[0, 0].tolist() == [3, 3, 3, 1, 0, 0, 0, 0, 0, 0, 0]
    assert not array[1:].any()


def test_an_object_that_loses_its_last_pixel_is_gone_until_undo(annotation):
    plane, other = PLANES[:2]
    annotation.commit(1, part_on(plane), mask(1, 1, 2, 2))
    annotation.commit(1, part_on(other), mask(1, 1, 2, 2))
    annotation.commit(2, part_on(plane), mask(0, 0, 5, 5), overlap="replace")
    assert areas(annotation) == {1: {other: 4}, 2: {plane: 25}}
    annotation.undo()
    assert areas(annotation) == {1: {plane: 4, other: 4}}


def test_no_crumbs_are_left_around_a_protected_object_but_what_was_asked_for():
    plane, annotation = PLANES[0], Annotation(ArraySurface(np.zeros((1, 24, 24), np.uint8)))
    first = mask(4, 4, 8, 8)
    annotation.commit(1, part_on(plane), first)
    wide = np.zeros((14, 20), dtype=bool)
    wide[3:11, 3:20] = True  # all of the first, a row and a column around it, and far beyond
    wide[11:13, 4:6] = True  # hangs on the first alone
    wide[0, 15] = True  # apart from the start, as it was shown
    told = LocalMask.crop(wide, Region(1, 1, 14, 20))
    corner = Evidence(np.array([[12, 5]]), np.array([True]))
    for said, left in ((NO_EVIDENCE, False), (corner, True)):
        kept = annotation.without_leftovers(2, plane, told, said).within(Region(0, 0, 24, 24))
        assert kept[12, 5] == left
        assert kept[1, 16]
        assert kept[6, 18]
    alone = mask(14, 14, 2, 2)
    assert annotation.without_leftovers(2, plane, alone, NO_EVIDENCE) is alone
    assert annotation.without_leftovers(2, plane, first, NO_EVIDENCE) is first  # nothing is left


def test_nothing_left_is_one_sentence_and_changes_nothing(annotation, array):
    plane = PLANES[0]
    annotation.commit(1, part_on(plane), mask(0, 0, 4, 4))
    before, table = array.copy(), areas(annotation)
    with pytest.raises(InputError, match="Overlap: Replace earlier objects"):
        annotation.commit(2, part_on(plane), mask(1, 1, 2, 2))
    with pytest.raises(InputError, match="the mask is empty"):
        annotation.commit(2, part_on(plane), LocalMask.crop(np.zeros((4, 4), dtype=bool)))
    with pytest.raises(InputError, match="no object 5"):
        annotation.remove(5)
    with pytest.raises(InputError, match="no object 1 on this slice"):
        annotation.remove(1, PLANES[1])
    np.testing.assert_array_equal(array, before)
    assert areas(annotation) == table
    assert annotation.last_change.act == "accept object 1"


def test_a_part_that_is_accepted_again_replaces_what_it_had(annotation, array):
    plane = PLANES[0]
    annotation.commit(1, part_on(plane), mask(0, 0, 4, 4))
    annotation.commit(1, part_on(plane, rounds=3), mask(5, 5, 2, 2))
    assert areas(annotation) == {1: {plane: 4}}
    assert annotation.objects[1].rounds == 3
    assert np.argwhere(array[0])[0].tolist() == [5, 5]


def test_a_group_is_taken_back_as_one(annotation, array):
    annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 2, 2))
    for plane in PLANES[1:]:
        annotation.commit(1, part_on(plane, status="propagated"), mask(0, 0, 2, 2), group=5)
    annotation.undo()
    assert areas(annotation) == {1: {PLANES[0]: 4}}
    annotation.redo()
    assert areas(annotation) == {1: dict.fromkeys(PLANES, 4)}
    annotation.undo()
    annotation.undo()
    assert not array.any()
    with pytest.raises(InputError, match="nothing to undo"):
        annotation.undo()


def test_a_group_longer_than_the_history_is_taken_back_whole():
    array = np.zeros((CHANGES_KEPT + 30, 4, 4), dtype=np.uint16)
    annotation = Annotation(ArraySurface(array))
    for z in range(len(array)):
        annotation.commit(1, part_on(Plane((1, 2), (z, 0, 0))), mask(0, 0, 2, 2), group=1)
    annotation.commit(2, part_on(PLANES[0]), mask(3, 3, 1, 1))
    annotation.undo()
    annotation.undo()
    assert not array.any()
    annotation.redo()
    assert annotation.objects[1].area == 4 * len(array)


def test_the_history_has_an_end(annotation):
    for _ in range(CHANGES_KEPT + 10):
        annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 2, 2))
        annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 3, 3))
    done = 0
    while do(annotation, ("undo",)):
        done += 1
    assert done == CHANGES_KEPT


def test_a_new_act_ends_redo(annotation):
    annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 2, 2))
    annotation.undo()
    assert annotation.last_undone.act == "accept object 1"
    annotation.commit(2, part_on(PLANES[0]), mask(0, 0, 2, 2))
    assert annotation.last_undone is None
    with pytest.raises(InputError, match="nothing to redo"):
        annotation.redo()


def test_an_object_is_deleted_from_one_slice_or_from_all(annotation, array):
    for plane in PLANES:
        annotation.commit(1, part_on(plane), mask(0, 0, 2, 2))
    annotation.remove(1, PLANES[1])
    assert annotation.last_change.act == "delete object 1 on one slice"
    assert areas(annotation) == {1: {PLANES[0]: 4, PLANES[2]: 4}} == counted(array)
    annotation.remove(1)
    assert not array.any()
    assert not annotation.objects
    annotation.undo()
    assert areas(annotation) == {1: {PLANES[0]: 4, PLANES[2]: 4}} == counted(array)
    annotation.redo()
    assert not array.any()


def test_numbers_are_not_used_twice(annotation):
    annotation.commit(annotation.next_number, part_on(PLANES[0]), mask(0, 0, 2, 2))
    annotation.commit(annotation.next_number, part_on(PLANES[0]), mask(4, 4, 2, 2))
    annotation.undo()
    annotation.remove(1)
    assert annotation.next_number == 3
    assert Annotation(ArraySurface(stack()), first_number=12).next_number == 12


def test_labels_too_small_for_a_number_are_told_not_wrapped(annotation):
    small = np.zeros(SHAPE, dtype=np.uint8)
    annotation.move_to(ArraySurface(small))
    annotation.commit(255, part_on(PLANES[0]), mask(0, 0, 2, 2))
    with pytest.raises(InputError, match="up to number 255, not 256"):
        annotation.commit(256, part_on(PLANES[0]), mask(4, 4, 2, 2))
    assert set(np.unique(small)) == {0, 255}


def test_a_preview_leaves_no_trace(annotation, array):
    plane = PLANES[0]
    annotation.commit(1, part_on(plane), mask(0, 0, 4, 4))
    before = array.copy()
    patch, kept = annotation.outline(2, plane, mask(2, 2, 4, 4))
    np.testing.assert_array_equal(array, before)
    annotation.apply(patch)
    assert (array[0] == 2).sum() == kept.area == 12
    assert list(annotation.objects) == [1]
    annotation.apply(patch.reverse)
    np.testing.assert_array_equal(array, before)
    assert annotation.last_change.act == "accept object 1"


def test_what_was_painted_since_stays_as_painted(annotation, array):
    plane = PLANES[0]
    annotation.commit(1, part_on(plane), mask(0, 0, 4, 4))
    array[0, 0, 0], array[0, 8, 8] = 9, 1
    annotation.undo()
    assert np.argwhere(array[0]).tolist() == [[0, 0], [8, 8]]
    annotation.redo()
    assert array[0, 0, 0] == 9
    assert (array[0, :4, :4] == 1).sum() == 15


def test_planes_along_any_axes():
    array = np.zeros((4, 5, 6), dtype=np.uint16)
    annotation = Annotation(ArraySurface(array))
    across = Plane((0, 2), (0, 3, 0))
    annotation.commit(1, part_on(across), mask(1, 2, 2, 3))
    assert np.argwhere(array).min(axis=0).tolist() == [1, 3, 2]
    assert np.argwhere(array).max(axis=0).tolist() == [2, 3, 4]
    assert annotation.pixels(1, across).region == Region(1, 2, 2, 3)
    assert annotation.pixels(1, Plane((0, 2), (0, 2, 0))) is None


def test_an_object_sums_up_its_parts(annotation):
    annotation.commit(3, part_on(PLANES[2], 2, uncertainty=0.5), mask(0, 0, 2, 2))
    annotation.commit(3, part_on(PLANES[0], 4, status="propagated"), mask(0, 0, 3, 3))
    held = annotation.objects[3]
    assert [part.plane for part in held.parts] == [PLANES[0], PLANES[2]]
    assert (held.area, held.rounds, held.uncertainty, held.status) == (13, 6, 0.5, "propagated")
    review = replace(held, parts=(replace(held.parts[0], status="review"), held.parts[1]))
    assert review.status == "review"


def test_a_snapshot_does_not_change(annotation):
    annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 2, 2))
    snapshot = annotation.objects
    annotation.commit(2, part_on(PLANES[0]), mask(4, 4, 2, 2))
    assert list(snapshot) == [1]
    with pytest.raises(TypeError):
        snapshot[5] = snapshot[1]


# -------------------------------------------------------------------------------- painted by hand


def test_painting_is_counted(annotation, array):
    plane = PLANES[0]
    annotation.commit(1, part_on(plane, 2), mask(0, 0, 2, 2))
    annotation.commit(2, part_on(plane), mask(4, 4, 2, 2))
    assert not annotation.recount(plane, array[0])
    array[0, 0, :5], array[0, 4:, 4:], array[0, 8, 0] = 1, 0, 40
    assert annotation.recount(plane, array[0])
    assert areas(annotation) == counted(array)
    assert annotation.objects[1].status == "edited"
    assert annotation.objects[1].rounds == 2
    assert annotation.objects[40].on(plane).region == Region(8, 0, 1, 1)
    assert not annotation.objects[40].on(plane).decisions
    assert annotation.next_number == 41


def test_what_was_painted_in_a_region_is_counted_there_and_as_in_the_whole(array):
    rng, plane, reads = np.random.default_rng(5), PLANES[0], []

    class Noted(ArraySurface):
        def read(self, plane, region):
            reads.append(region.height * region.width)
            return super().read(plane, region)

    there, whole = Annotation(Noted(array)), Annotation(ArraySurface(array))
    for number, corner in enumerate([(0, 0), (0, 7), (6, 0), (6, 7)], start=1):
        for each in (there, whole):
            each.commit(number, part_on(plane), mask(*corner, 3, 4), overlap="replace")
    for _ in range(60):
        top, left = rng.integers(0, (8, 10))
        region = Region(int(top), int(left), 2, 2)
        array[plane.region(region)] = rng.integers(0, 7)
        seen = array[plane.region(region)].copy()
        assert there.recount(plane, seen, region) == whole.recount(plane, array[plane.slices])
        assert areas(there) == areas(whole) == counted(array)
        for number, one in there.objects.items():
            assert one.on(plane).region == whole.objects[number].on(plane).region
    array[0], array[0, 8, 10] = 0, 9
    there.recount(plane, array[0].copy())
    reads.clear()
    array[0, 8, 9] = 9
    assert there.recount(plane, array[0, 8:, 9:10], Region(8, 9, 1, 1))
    assert sum(reads) == 2


def test_painting_across_the_slices_is_counted_on_them(annotation, array):
    annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 2, 2))
    assert not annotation.recount(Plane((0, 2), (0, 4, 0)), np.full((3, 11), 1))
    assert areas(annotation) == {1: {PLANES[0]: 4}}


def test_an_object_made_across_does_not_count_the_others_twice(annotation, array):
    across = Plane((0, 2), (0, 8, 0))
    annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 9, 2))
    annotation.commit(2, part_on(across), mask(1, 6, 2, 2))
    before = areas(annotation)
    assert not annotation.recount(across, array[across.slices])
    assert areas(annotation) == before
    array[0, 8, 5] = 2
    assert annotation.recount(across, array[across.slices])
    assert areas(annotation) == {**before, 2: {across: 5}}


def test_numbers_of_any_size_are_counted(annotation):
    labels = np.zeros((9, 11), dtype=np.uint32)
    labels[0, :3], labels[1, :2] = 2**32 - 2, 7
    assert annotation.recount(PLANES[0], labels)
    assert areas(annotation) == {7: {PLANES[0]: 2}, 2**32 - 2: {PLANES[0]: 3}}


def test_blobs_are_sometimes_empty_and_sometimes_not():
    assert {blob(8, 10, 1, 1, seed).area for seed in range(9)} == {0, 1}


def test_with_the_largest_number_in_use_a_new_object_takes_a_free_one(array, annotation):
    """65535 is an "ignore" value for some."""
    commit = lambda number, there: annotation.commit(  # noqa: E731
        number, part_on(PLANES[0]), mask(*there)
    )
    commit(annotation.next_number, (0, 0, 1, 1))
    array[PLANES[0].slices][5, 5] = 65535
    annotation.recount(PLANES[0], array[PLANES[0].slices])
    assert annotation.next_number == 2
    commit(2, (0, 2, 1, 1))
    assert annotation.next_number == 3
    assert sorted(annotation.objects) == [1, 2, 65535]
    annotation.remove(1)
    assert annotation.next_number == 1


# ------------------------------------------------------------------------ naming and reshaping


def test_a_new_object_is_of_the_class_and_keeps_name_and_class_whatever_is_done(annotation):
    annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 4, 4), class_name="nucleus")
    annotation.describe(1, name="the large one")
    annotation.commit(1, part_on(PLANES[1]), mask(0, 0, 4, 4), class_name="cytoplasm")
    annotation.commit(2, part_on(PLANES[0]), mask(0, 0, 2, 2), overlap="replace")
    annotation.remove(1, PLANES[1])
    assert annotation.objects[1].name == "the large one"
    assert [o.class_name for o in annotation.objects.values()] == ["nucleus", ""]
    for _ in range(3):
        annotation.undo()
    assert annotation.undo().act == "rename object 1"
    assert annotation.objects[1].name == ""
    with pytest.raises(InputError, match="no object 7"):
        annotation.describe(7, name="x")


def test_merging_joins_pixels_on_all_planes_and_one_undo_parts_them(array, annotation):
    annotation.commit(1, part_on(PLANES[0], decisions=("how",)), mask(0, 0, 2, 2))
    annotation.commit(1, part_on(PLANES[1], decisions=("how",)), mask(0, 0, 2, 2))
    annotation.commit(2, part_on(PLANES[0]), mask(4, 4, 2, 3))
    annotation.commit(2, part_on(PLANES[2]), mask(4, 4, 2, 3))
    before = array.copy()
    annotation.merge(1, [2, 1])
    assert areas(annotation) == {1: {PLANES[0]: 10, PLANES[1]: 4, PLANES[2]: 6}}
    # What both had cannot be computed again; what only the first had can.
    assert [p.status for p in annotation.objects[1].parts] == ["edited", "accepted", "edited"]
    assert [p.decisions for p in annotation.objects[1].parts] == [(), ("how",), ()]
    annotation.undo()
    np.testing.assert_array_equal(array, before)
    assert list(annotation.objects) == [1, 2]
    with pytest.raises(InputError, match="choose another object"):
        annotation.merge(1, [1])


def test_dividing_makes_pieces_objects_of_the_same_class(array, annotation):
    annotation.commit(1, part_on(PLANES[0]), mask(0, 0, 4, 6), class_name="nucleus")
    annotation.divide(1, PLANES[0], {2: mask(0, 4, 4, 2)})
    assert areas(annotation) == {1: {PLANES[0]: 16}, 2: {PLANES[0]: 8}}
    assert [o.class_name for o in annotation.objects.values()] == ["nucleus", "nucleus"]
    assert annotation.next_number == 3
    with pytest.raises(InputError, match="leaves nothing of object 1"):
        annotation.divide(1, PLANES[0], {3: mask(0, 0, 9, 9)})
    with pytest.raises(InputError, match="numbers are used up"):
        annotation.divide(1, PLANES[0], {2: mask(0, 0, 1, 1)})
    annotation.undo()
    assert areas(annotation) == {1: {PLANES[0]: 24}}


def test_strokes_by_hand_are_one_act_and_bring_back_how_the_object_came_about(array, annotation):
    annotation.commit(1, part_on(PLANES[0], decisions=("how",)), mask(0, 0, 4, 4))
    annotation.begin_edit(PLANES[0], array[0].copy())
    for row in (4, 5):
        array[0, row, :4] = 1
        annotation.recount(PLANES[0], array[0].copy())
    change = annotation.end_edit(1, array[0].copy())
    assert change.act == "edit object 1"
    assert (annotation.objects[1].area, annotation.objects[1].status) == (24, "edited")
    annotation.undo()
    assert array.sum() == 16
    assert annotation.objects[1].status == "accepted"
    annotation.redo()
    assert array.sum() == 24
    annotation.begin_edit(PLANES[0], array[0].copy())
    assert annotation.end_edit(1, array[0].copy()) is None  # nothing to take back
