"""Tests of the log of a session: whatever was done comes back, however the log ends."""

import json
import os
from dataclasses import asdict, replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_acts import PLANES, SHAPE, blobs, part_on

from napari_spa.core.types import Click, LocalMask, MixtureParameters, Prompts, Region
from napari_spa.errors import DataError, InputError
from napari_spa.io.event_log import RecordLog, read_records
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.refine.annotation.annotation import Annotation, ArraySurface
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.log.journal import ImageFacts, Journal, image_facts, read_journal
from napari_spa.refine.log.serialization import decision_to_record, pack
from napari_spa.refine.session.acts import Decision
from napari_spa.refine.session.state import SessionState, Timeline

FACTS = ImageFacts("Zellen é 細胞", SHAPE, "uint8", "stack.tif")
MODEL = ModelIdentity("tiny-random", "0" * 64, "both", "mixture", 4)
MIXTURE = MixtureParameters(np.ones(1), np.full((1, 2), 0.1), np.ones((1, 2)))
VIEW = FieldOfView(0.5, 1.0, 8.0, 8.0)
_TICK = count()


def source_on(plane):
    return {"image": f"pixels of {plane.position}", "look": {"channels": None, "limits": None}}


def state_after(earlier, act="click"):
    """A state with one more decision; no engine is needed to write it down."""
    number = len(earlier) + 1
    clicks = tuple(Click(float(n), 0.1) for n in range(number))
    prompts = Prompts(clicks)
    decision = Decision(
        "start" if number == 1 else act,
        number,
        1000 + next(_TICK),
        2 if act == "pick" and number > 1 else None,
        prompts,
        ((3, 4, 0.5),),
        MIXTURE,
        VIEW,
        (0, 1),
        float(number),
    )
    return SessionState(VIEW, prompts, MIXTURE, MIXTURE, (*earlier, decision))


class Annotator:
    """A dock without windows and engine: acts on objects, each written down."""

    def __init__(self, path):
        self.log = RecordLog(path)
        self.journal = Journal(self.log)
        self.array = np.zeros(SHAPE, dtype=np.uint32)
        self.annotation = Annotation(ArraySurface(self.array))
        self.hand = None  # number, plane, timeline, reopened
        self.journal.begin(FACTS, MODEL)

    def start(self, plane):
        if self.hand is None:
            timeline = Timeline(state_after(()))
            self._show(self.annotation.next_number, plane, timeline, reopened=False)

    def whole(self, plane, mask, overlap):
        """An object from its start to its end."""
        if self.hand is None:
            self.start(plane)
            self.go("pick")
            self.accept(mask, overlap)

    def go(self, act):
        if self.hand is not None:
            number, plane, timeline, reopened = self.hand
            if act == "back" and timeline.past:
                timeline = timeline.back()
            elif act == "forth" and timeline.future:
                timeline = timeline.forward()
            elif act in ("click", "pick"):
                timeline = timeline.push(state_after(timeline.state.decisions, act))
            self._show(number, plane, timeline, reopened=reopened)

    def _show(self, number, plane, timeline, *, reopened):
        self.hand = number, plane, timeline, reopened
        self.journal.shown(number, plane, timeline, source_on(plane))

    def accept(self, mask, overlap):
        if self.hand is not None:
            number, plane, timeline, _ = self.hand
            part = part_on(plane, timeline.state.number, timeline.state.decisions)
            part = replace(part, source=source_on(plane))
            if self._write(number, part, mask, overlap):
                self.hand = None

    def _write(self, number, part, mask, overlap, group=None):
        try:
            self.annotation.commit(number, part, mask, overlap=overlap, group=group)
        except InputError:
            return False
        self.journal.accept(number, part, mask, overlap, group)
        return True

    def propagate(self, mask):
        numbers = list(self.annotation.objects)
        if self.hand is None and numbers:
            group = next(_TICK)
            for plane in PLANES:
                decisions = state_after(()).decisions
                part = part_on(plane, 1, decisions, status="propagated")
                part = replace(part, source=source_on(plane))
                self._write(numbers[0], part, mask, "protect", group)

    def reopen(self, last):
        if self.hand is None and self.annotation.objects:
            number = list(self.annotation.objects)[-1 if last else 0]
            part = self.annotation.objects[number].parts[-1]
            played = part.reopens_with
            self.journal.reopen(number, part.plane, played)
            # As restoring does: the start is the same, the rest is made again.
            again = tuple(replace(d, time=d.time) for d in played[1:])
            decisions = (*played[:1], *again) or state_after(()).decisions
            states = [
                SessionState(VIEW, d.prompts, MIXTURE, MIXTURE, decisions[: n + 1])
                for n, d in enumerate(decisions)
            ]
            timeline = Timeline(states[-1], tuple(states[:-1]))
            self._show(number, part.plane, timeline, reopened=True)

    def discard(self):
        if self.hand is not None:
            self.journal.discard(self.hand[0])
            self.hand = None

    def delete(self, number, plane):
        if self.hand is None:
            try:
                self.annotation.remove(number, plane)
            except InputError:
                return
            self.journal.delete(number, plane)

    def _try(self, act):
        """Do an act on objects unless it is refused; tell whether it was done."""
        try:
            act()
        except InputError:
            return False
        return True

    def describe(self, number, name, class_name):
        said = {"name": name, "class_name": class_name}
        if self._try(lambda: self.annotation.describe(number, **said, group=None)):
            self.journal.describe(number, name, class_name, None)

    def keep(self, number, group):
        if self._try(lambda: self.annotation.keep(number, group=group)):
            self.journal.keep(number, group)

    def drop(self, number, group):
        if self.hand is None and self._try(lambda: self.annotation.remove(number, group=group)):
            self.journal.delete(number, None, group)

    def merge(self, number, others):
        if self.hand is None and self._try(lambda: self.annotation.merge(number, others)):
            self.journal.merge(number, others)

    def split(self, number, plane, mask):
        pieces = {self.annotation.next_number: mask}
        if self.hand is None and self._try(lambda: self.annotation.divide(number, plane, pieces)):
            self.journal.divide(number, plane, pieces)

    def by_hand(self, number, plane, masks):
        """Edit an object in strokes."""
        if self.hand is None and number in self.annotation.objects:
            self.annotation.begin_edit(plane, self.array[plane.slices].copy())
            self.journal.begin_edit(plane)
            for mask in masks:
                self.paint(plane, mask, number)
            self.annotation.end_edit(number, self.array[plane.slices].copy())
            self.journal.end_edit(number, plane)

    def take_back(self, kind):
        if self.hand is None:
            try:
                getattr(self.annotation, kind)()
            except InputError:
                return
            self.journal.note(kind)

    def waver(self, undos, redos):
        for kind in ["undo"] * undos + ["redo"] * redos:
            self.take_back(kind)

    def paint(self, plane, mask, number):
        self.array[plane.region(mask.region)][mask.pixels] = number
        region = mask.region if number % 2 and mask.area else None  # as on a large plane
        place = plane.slices if region is None else plane.region(region)
        labels = self.array[place].copy()
        self.annotation.recount(plane, labels, region)
        self.journal.edit(plane, labels, region)


def told(decisions):
    return [decision_to_record(decision) for decision in decisions]


def table(annotation):
    return {
        number: [
            (active.name, active.class_name),
            *(
                (p.plane, p.area, p.rounds, p.uncertainty, p.status, told(p.decisions), p.source)
                for p in active.parts
            ),
        ]
        for number, active in annotation.objects.items()
    }


def assert_the_same(read, array, annotator):
    np.testing.assert_array_equal(array, annotator.array)
    assert table(read.annotation) == table(annotator.annotation)
    assert read.annotation.next_number == annotator.annotation.next_number
    assert read.image == FACTS
    if annotator.hand is None:
        assert read.active is None
        return
    number, plane, timeline, reopened = annotator.hand
    active = read.active
    assert (active.number, active.plane, active.reopened) == (number, plane, reopened)
    assert told(active.decisions) == told(timeline.latest)
    assert active.round == timeline.state.number
    assert active.undone == len(timeline.future)
    assert active.source == source_on(plane)


def read(records, **options):
    array = np.zeros(SHAPE, dtype=np.uint32)
    return read_journal(records, ArraySurface(array), **options), array


planes = st.sampled_from(PLANES)
names = st.sampled_from([None, "", "nucleus", "the large one"])
overlaps = st.sampled_from(["protect", "replace"])
goings = st.tuples(st.just("go"), st.sampled_from(["click", "pick", "back", "forth"]))
acts = st.lists(
    st.one_of(
        st.tuples(st.just("whole"), planes, blobs, overlaps),
        st.tuples(st.just("start"), planes),
        st.tuples(st.just("reopen"), st.booleans()),
        goings,
        goings,
        goings,
        st.tuples(st.just("accept"), blobs, overlaps),
        st.tuples(st.just("propagate"), blobs),
        st.tuples(st.just("discard")),
        st.tuples(st.just("delete"), st.integers(1, 3), st.none() | planes),
        st.tuples(st.just("waver"), st.integers(1, 3), st.integers(0, 2)),
        st.tuples(st.just("paint"), planes, blobs, st.integers(0, 5)),
        st.tuples(st.just("describe"), st.integers(1, 3), names, names),
        st.tuples(st.sampled_from(["keep", "drop"]), st.integers(1, 3), st.integers(7, 8)),
        st.tuples(st.just("merge"), st.integers(1, 3), st.lists(st.integers(1, 4), max_size=3)),
        st.tuples(st.just("split"), st.integers(1, 3), planes, blobs),
        st.tuples(st.just("by_hand"), st.integers(1, 3), planes, st.lists(blobs, max_size=2)),
    ),
    min_size=12,
    max_size=40,
)


@settings(max_examples=60)
@given(acts=acts)
def test_a_log_gives_back_what_was_done(acts, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "work.jsonl"
    annotator = Annotator(path)
    for name, *arguments in acts:
        getattr(annotator, name)(*arguments)
    annotator.log.close()
    session, array = read(read_records(path))
    assert_the_same(session, array, annotator)
    assert session.model["sha256"] == MODEL.sha256


@pytest.fixture
def annotator(tmp_path):
    annotator = Annotator(tmp_path / "work.jsonl")
    yield annotator
    annotator.log.close()


def box(top, left, height, width):
    return LocalMask(Region(top, left, height, width), np.ones((height, width), dtype=bool))


def a_day(annotator):
    """One of each act; yields after each record, or few of them."""
    annotator.start(PLANES[0])
    yield
    annotator.go("pick")
    yield
    annotator.go("back")
    yield
    annotator.accept(box(0, 0, 4, 4), "protect")
    yield
    annotator.propagate(box(0, 0, 3, 3))
    yield
    annotator.paint(PLANES[1], box(5, 5, 2, 2), 9)
    yield
    annotator.start(PLANES[1])
    yield
    annotator.accept(box(4, 4, 4, 4), "replace")
    yield
    annotator.delete(1, PLANES[2])
    yield
    annotator.take_back("undo")
    yield
    annotator.reopen(False)
    yield
    annotator.go("click")
    yield
    annotator.go("back")
    yield


def test_each_act_can_be_the_last(annotator):
    for _ in a_day(annotator):
        annotator.log.flush()
        assert_the_same(*read(read_records(annotator.log.path)), annotator)


def test_a_log_that_is_cut_at_any_byte_gives_an_earlier_state(annotator, tmp_path):
    for _ in a_day(annotator):
        pass
    annotator.log.flush()
    whole, records = annotator.log.path.read_bytes(), read_records(annotator.log.path)
    lines = whole.split(b"\n")[:-1]
    assert len(lines) == len(records) > 12
    for known in range(1, len(records) + 1):
        read(records[:known])
    cut, ends = tmp_path / "cut.jsonl", np.cumsum([len(line) + 1 for line in lines])
    for size in [0, *range(17, len(whole), 997), *ends, *(ends - 1)]:
        cut.write_bytes(whole[:size])
        known = int(np.searchsorted(ends, size + 1, side="right"))
        if known:
            assert read_records(cut) == records[:known], size
        else:
            with pytest.raises(DataError, match="no record"):
                read_records(cut)
    # What comes before does not matter any more, so for each single byte without it.
    for before, line in zip(records, lines[1:], strict=False):
        start = json.dumps(before).encode() + b"\n"
        cut.write_bytes(start + line)
        for size in reversed(range(len(line))):
            os.truncate(cut, len(start) + size)
            assert read_records(cut) == [before], size


@pytest.mark.parametrize("missing", range(1, 200, 13))
def test_a_log_that_was_cut_can_be_gone_on_with(annotator, missing, tmp_path):
    annotator.start(PLANES[0])
    annotator.log.close()
    whole, records = annotator.log.path.read_bytes(), read_records(annotator.log.path)
    annotator.log.path.write_bytes(whole[:-missing])
    log = RecordLog(annotator.log.path)
    Journal(log).note("closed")
    log.close()
    again = read_records(annotator.log.path)
    assert again == [*records[: len(records) if missing == 1 else -1], {"kind": "closed"}]
    assert read(again)[0].closed


def test_a_closed_log_says_so_until_it_is_gone_on_with(annotator):
    annotator.journal.note("closed")
    annotator.log.flush()
    assert read(read_records(annotator.log.path))[0].closed
    annotator.start(PLANES[0])
    annotator.log.flush()
    assert not read(read_records(annotator.log.path))[0].closed


def test_a_recovered_object_is_not_written_twice(annotator):
    annotator.start(PLANES[0])
    annotator.go("click")
    annotator.go("back")
    annotator.log.flush()
    before = read_records(annotator.log.path)
    timeline = annotator.hand[2]
    again = Journal(annotator.log)
    again.continued(timeline)
    source = source_on(PLANES[0])
    again.shown(1, PLANES[0], timeline, source)
    again.shown(1, PLANES[0], timeline, source)
    again.shown(1, PLANES[0], timeline.forward(), source)
    annotator.log.flush()
    assert read_records(annotator.log.path)[len(before) :] == [
        {"kind": "at", "object": 1, "round": 1, **source},  # perhaps with another contrast
        {"kind": "at", "object": 1, "round": 2, **source},
    ]


@pytest.mark.parametrize("restored", [True, False])
def test_a_reopened_object_says_how_it_is_looked_at_now(annotator, restored):
    annotator.start(PLANES[0])
    annotator.accept(box(0, 0, 2, 2), "protect")
    decisions = annotator.annotation.objects[1].parts[0].decisions
    annotator.journal.reopen(1, PLANES[0], decisions)
    annotator.log.flush()
    assert read(read_records(annotator.log.path))[0].active.source == source_on(PLANES[0])
    timeline = Timeline(SessionState(VIEW, Prompts(), MIXTURE, MIXTURE, decisions))
    other = {"image": "red", "look": {"channels": [0]}}
    if restored:
        annotator.journal.continued(timeline)
    annotator.journal.shown(1, PLANES[0], timeline, other)
    annotator.log.flush()
    active = read(read_records(annotator.log.path))[0].active
    assert (active.reopened, active.source, len(active.decisions)) == (True, other, 1)


def test_masks_are_asked_for_with_all_that_led_to_them(annotator):
    for _ in a_day(annotator):
        pass
    annotator.journal.begin(FACTS, replace(MODEL, name="other"))
    annotator.start(PLANES[2])
    annotator.hand = None
    annotator.log.flush()
    asked = []

    def mask_of(accepted):
        asked.append(accepted)
        return accepted.mask

    session, array = read(read_records(annotator.log.path), mask_of=mask_of)
    np.testing.assert_array_equal(array, annotator.array)
    assert [(a.number, a.plane.position, len(a.decisions)) for a in asked] == [
        (1, (0,), 1),
        *((1, (z,), 1) for z in range(3)),
        (10, (1,), 1),
    ]
    for accepted in asked:
        assert accepted.source == source_on(accepted.plane)
        assert accepted.model["name"] == MODEL.name
    assert session.model["name"] == "other"


def test_a_mask_that_is_given_anew_is_written(annotator):
    annotator.start(PLANES[0])
    annotator.accept(box(0, 0, 2, 2), "protect")
    annotator.log.flush()
    session, array = read(
        read_records(annotator.log.path), mask_of=lambda accepted: box(4, 4, 3, 3)
    )
    assert session.annotation.objects[1].area == 9
    assert array[0, 4:7, 4:7].all()


# ------------------------------------------------------------------------------------- damage

json_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**9),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-2, 9), max_size=4),
    st.just({"axes": [1, 2], "index": [99, 0, 0]}),
    st.just({"axes": [0, 1], "index": [0, 0]}),
    st.just({"region": [5, 5, 9, 9], "pixels": "eJxjYAAAAAIAAQ=="}),
)


@pytest.fixture(scope="module")
def day_records(tmp_path_factory):
    annotator = Annotator(tmp_path_factory.mktemp("day") / "work.jsonl")
    for _ in a_day(annotator):
        pass
    annotator.log.close()
    return read_records(annotator.log.path)


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_log_is_one_sentence_or_an_answer(day_records, data):
    records = [dict(record) for record in day_records]
    where = data.draw(st.integers(0, len(records) - 1))
    what = data.draw(st.sampled_from(["drop", "double", "value", "without"]))
    if what == "drop":
        del records[where]
    elif what == "double":
        records.insert(data.draw(st.integers(0, len(records))), records[where])
    else:
        key = data.draw(st.sampled_from(sorted(records[where])))
        del records[where][key]
        if what == "value":
            records[where][key] = data.draw(json_values)
    try:
        session, _ = read(records)
    except DataError as error:
        sentence = str(error)
    else:
        sentence = "what was read can be used."
        while session.annotation.last_change is not None:
            session.annotation.undo()
    assert sentence.count("\n") == 0
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([{"kind": "undo"}], "does not say which image"),
        ([{"kind": "session", "version": 2}], "newer napari-spa"),
        ([{"kind": "session", "version": 1, "image": {}}], "does not say which image"),
        ([{"kind": "session", "version": 1, "image": {"name": "a"}, "model": {}}], "which image"),
    ],
)
def test_a_log_without_an_image_is_one_sentence(records, sentence):
    with pytest.raises(DataError, match=sentence):
        image_facts(records)
    with pytest.raises(DataError, match=sentence):
        read(records)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"kind": "undo"}, "contradicts itself: there is nothing to undo"),
        ({"kind": "delete", "object": 7, "plane": None}, "contradicts itself: there is no object"),
        ({"kind": "dance"}, "unknown kind, 'dance'"),
        ({}, "unknown kind, None"),
        ({"kind": "decision"}, "damaged 'decision' record"),
        ({"kind": "at", "round": "one"}, "damaged 'at' record"),
        (
            {
                "kind": "edit",
                "plane": {"axes": [1, 2], "index": [0, 0, 0]},
                "shape": [9, 11],
                "labels": "AAAA",
            },
            "damaged 'edit' record",
        ),
        (
            {
                "kind": "edit",
                "plane": {"axes": [1, 2], "index": [0, 0, 0]},
                "corner": [8, 10],
                "shape": [2, 1],
                "labels": pack(np.ones((2, 1), "<u4")),
            },
            "damaged 'edit' record",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence(annotator, record, sentence):
    annotator.start(PLANES[0])
    annotator.log.flush()
    with pytest.raises(DataError, match=sentence):
        read([*read_records(annotator.log.path), record])


def test_facts_are_read_without_the_rest(annotator):
    annotator.log.flush()
    facts, model = image_facts(read_records(annotator.log.path))
    assert facts == FACTS
    assert model == asdict(MODEL)
