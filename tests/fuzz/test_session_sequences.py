"""Any sequence of calls on a session, wrong ones too: each an answer, or a sentence and no trace.

``pytest tests/fuzz/test_session_sequences.py --fuzz 5000 --fuzz-seed 1 -s`` plays 5,000 sequences;
a few in CI.
"""

import hashlib
import resource
import time
from collections import Counter

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tiny_model import make_model

from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask
from napari_spa.errors import Cancelled, SpaError
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.annotation.annotation import Annotation, ArraySurface
from napari_spa.refine.annotation.objects import Part
from napari_spa.refine.engine.config import EngineConfig, silent
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.session.session import RefinementSession
from napari_spa.refine.session.state import Phase

SECONDS, GROWTH = 10.0, 600 * 2**20
MODELS = [make_model(head, seed) for seed, head in enumerate(("both", "latent", "logit"))]
CONFIG = EngineConfig(samples=6)
RNG = np.random.default_rng(5)
SHAPE = (28, 34)
IMAGES = [
    RNG.integers(0, 255, SHAPE, np.uint8),
    RNG.integers(0, 4000, (*SHAPE, 3)).astype(np.uint16),
    RNG.normal(0, 1e6, (1, 40)),
    np.full((2, 2), np.nan, np.float32),
    np.zeros(SHAPE, bool),
]
NO_IMAGES = [None, "x", np.zeros(3), np.zeros((0, 4)), np.zeros((4, 4), "U3"), [[1], [2, 3]], 1j]
ODD = [
    None, "x", "", -1, 1.9, True, 10**400, float("nan"), float("inf"), [0], (), (1, 2, 3), {},
    np.array([1, 2]), np.array(1), b"1", object(), ("a", "b"), ((1, 2), (3, 4)), 2**63, slice(2),
]  # fmt: skip

odd = st.sampled_from(ODD)


def mostly(good, *others):
    """Return a strategy: what a call takes, and once in a while something else."""
    return st.one_of(*[good] * (9 - len(others)), *others)


inside = st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))
anywhere = st.tuples(st.floats(-3, 40), st.floats(-3, 44))
points = mostly(inside, anywhere, odd)
labels = mostly(st.integers(0, 1), odd)
boxes = mostly(st.tuples(*[st.integers(0, SHAPE[0])] * 4), st.tuples(inside, inside), odd)
goes_on = mostly(inside, st.none())
"""Where the next object is started at once, so that most calls find one."""
starts = st.fixed_dictionaries(
    {"points": mostly(st.lists(inside, min_size=1, max_size=3), st.lists(points, max_size=2), odd)},
    optional={
        "labels": mostly(st.none(), st.lists(st.integers(0, 1), max_size=3), odd),
        "box": mostly(st.none(), boxes),
        "mask": mostly(st.none(), st.sampled_from([image > 0 for image in IMAGES]), odd),
        "view": mostly(st.none(), odd),
    },
)
numbers = st.floats(-20, 40)
sides = mostly(st.floats(1, 60), st.floats(), odd)
views = st.builds(FieldOfView, *[mostly(numbers, st.floats(), odd)] * 2, sides, sides)


def shape_of(session):
    """Return rows and columns of a session's image; None without one."""
    return None if session.phase is Phase.NO_IMAGE else session.sampler.shape


class SessionMachine(RuleBasedStateMachine):
    """A session, the objects accepted with it, and a caller who does anything."""

    counts, slowest = Counter(), 0.0

    def __init__(self):
        super().__init__()
        self.session = RefinementSession(MODELS[0], config=CONFIG)
        self.profile = None
        self.forget_image()
        self.patience = None

    def forget_image(self):
        shape = shape_of(self.session) or (1, 1)
        self.labels = np.zeros(shape, np.uint8)
        self.objects = Annotation(ArraySurface(self.labels))
        self.seen = {}  # states are kept by it, so that none gets the identity of another

    def call(self, what, *args, **kwargs):
        """Make a call; an error of ours leaves the session as it was, another one is a fault."""
        before = self.snapshot()
        begun = time.process_time()
        try:
            answer = what(*args, **kwargs)
        except SpaError as error:
            said = str(error)
            assert self.snapshot() == before, f"{said} left another session"
            assert said.isprintable()
            assert len(said) < 1100
            self.counts["cancelled" if isinstance(error, Cancelled) else "sentence"] += 1
            return None
        finally:
            spent = time.process_time() - begun
            SessionMachine.slowest = max(self.slowest, spent)
            self.counts["acts"] += 1
            assert spent < SECONDS, "too slow"
        self.counts["answer"] += 1
        return True if answer is None else answer

    def snapshot(self):
        session = self.session
        return session.phase, id(session.timeline), session.profile, shape_of(session)

    @property
    def progress(self):
        """Return what is told of progress; once in a while it cancels."""
        if self.patience is None:
            return silent

        def tell(share, message):
            if self.patience is not None:
                self.patience -= 1
                if self.patience < 0:
                    self.patience = None
                    raise Cancelled("stopped by the user.")

        return tell

    # ------------------------------------------------------------------ what one can do

    @initialize(image=st.sampled_from([*[IMAGES[0]] * 3, None, *IMAGES]), point=inside)
    def begin(self, image, point):
        self.set_image(image)
        self.start({"points": [point]})

    @rule(image=mostly(st.sampled_from(IMAGES), st.sampled_from(NO_IMAGES)), then=goes_on)
    def set_image(self, image, then=None):
        if self.call(self.session.set_image, image) is not None:
            self.forget_image()
        self.go_on(then)

    def go_on(self, then):
        if then is not None:
            self.start({"points": [then]})

    @rule(calls=st.integers(0, 3))
    def cancel_next(self, calls):
        self.patience = calls

    @rule(arguments=starts)
    def start(self, arguments):
        self.call(self.session.start, **arguments, progress=self.progress)

    @rule(index=mostly(st.integers(0, 3), odd))
    def pick(self, index):
        self.call(self.session.pick, index, progress=self.progress)

    @rule(point=points, label=labels)
    def click(self, point, label):
        if self.call(self.session.click, point, label, progress=self.progress) is not None:
            self.obeys([point], label)

    @rule(path=mostly(st.lists(inside, max_size=4), st.lists(points), odd), label=labels)
    def brush(self, path, label):
        if self.call(self.session.stroke, path, label, progress=self.progress) is not None:
            self.obeys(path, label)

    @rule(box=boxes)
    def box(self, box):
        self.call(self.session.box, box, progress=self.progress)

    @rule(view=mostly(views, odd))
    def look(self, view):
        self.call(self.session.set_view, view, progress=self.progress)

    @rule(act=st.sampled_from(["undo", "redo"]))
    def go(self, act):
        self.call(getattr(self.session, act), progress=self.progress)

    @rule(then=goes_on)
    def accept(self, then):
        result = self.call(self.session.accept)
        if result is not None:
            number = self.objects.next_number
            plane, mask = Plane((0, 1), (0, 0)), LocalMask.crop(result.mask)
            part = Part(plane, "accepted", result.rounds, 0.5, result.decisions)
            self.call(self.objects.commit, number, part, mask)
            self.go_on(then)

    @precondition(lambda self: self.objects.objects)
    @rule(number=st.integers(1, 3), undone=st.integers(0, 4))
    def reopen(self, number, undone):
        held = self.objects.objects.get(number)
        decisions = held.parts[0].decisions if held else ()
        self.call(self.session.restore, decisions, undone=undone, progress=self.progress)

    @precondition(lambda self: self.objects.objects)
    @rule(number=st.integers(1, 3), act=st.sampled_from(["remove", "undo", "redo"]))
    def delete(self, number, act):
        if act == "remove":
            self.call(self.objects.remove, number)
        else:
            self.call(getattr(self.objects, act))

    @rule(model=st.sampled_from(MODELS), seed=mostly(st.integers(0, 3), odd), then=goes_on)
    def change_model(self, model, seed, then):
        self.change(model, self.profile, seed)
        self.go_on(then)

    @rule(which=st.sampled_from(["none", "empty", "learned"]), then=goes_on)
    def change_profile(self, which, then):
        model = self.session.model
        profile = {
            "none": None,
            "empty": PreferenceProfile.empty(model.identity, name="ana"),
            "learned": self.session.profile,
        }[which]
        self.profile = profile
        self.change(model, profile, 0)
        self.go_on(then)

    def change(self, model, profile, seed):
        made = self.call(RefinementSession, model, profile, seed, config=CONFIG)
        if made is not None:
            image = None if shape_of(self.session) is None else self.session.sampler.image_plane
            self.session = made
            self.forget_image()
            self.set_image(image)

    # ------------------------------------------------------------------ what always holds

    def obeys(self, path, label):
        if self.session.prompts.box is not None:
            return  # what lies outside of it is off, whatever was clicked there before
        shown = self.session.proposal
        masks = [shown.mask, *(candidate.mask for candidate in shown.candidates)]
        limits = np.array(shown.shape) - 1
        for point in path[-1:]:
            row, column = np.clip(np.floor(np.array(point, float) + 0.5), 0, limits).astype(int)
            assert all(mask[row, column] == label for mask in masks)

    @invariant()
    def what_is_shown_is_whole_and_the_same_each_time(self):
        session, shown = self.session, self.session.proposal
        assert (shown is None) == (session.phase in (Phase.NO_IMAGE, Phase.READY))
        if shown is None:
            assert not session.can_undo
            return
        state = session.timeline.state
        assert shown.mask.shape == shape_of(session)
        assert len(shown.candidates) <= 4
        assert shown.round == state.number
        assert 0 <= shown.uncertainty <= 1
        probability = shown.local_probability
        assert ((probability >= 0) & (probability <= 1)).all()
        assert all(candidate.mask.shape == shown.mask.shape for candidate in shown.candidates)
        kept, content = self.seen.setdefault(id(state), (state, digest(shown)))
        assert kept is state
        assert digest(shown) == content

    @invariant()
    def labels_are_what_the_objects_say(self):
        numbers, areas = np.unique(self.labels, return_counts=True)
        there = {n: a for n, a in zip(numbers.tolist(), areas.tolist(), strict=True) if n}
        assert {n: held.area for n, held in self.objects.objects.items() if held.area} == there

    def teardown(self):
        """Playing the decisions again, in another session, shows the same."""
        state = None if self.session.timeline is None else self.session.timeline.state
        if state is None:
            return
        again = RefinementSession(self.session.model, seed=3, config=CONFIG)
        again.set_image(self.session.sampler.image_plane)
        self.counts["played again"] += 1
        assert digest(again.restore(state.decisions)) == digest(self.session.proposal)


def digest(shown):
    made = hashlib.sha256(shown.mask.tobytes())
    for candidate in shown.candidates:
        made.update(candidate.mask.tobytes())
    return made.hexdigest()


def test_any_sequence_of_calls_is_answers_and_sentences(fuzz_count, fuzz_seed, capsys):
    settings = hypothesis.settings(
        max_examples=fuzz_count,
        stateful_step_count=12,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    SessionMachine.counts, SessionMachine.slowest = Counter(), 0.0
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run_state_machine_as_test(hypothesis.seed(fuzz_seed)(SessionMachine), settings=settings)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun) * 1024
    with capsys.disabled():
        print(  # noqa: T201  the counts are what this is for
            f"\nsession: seed {fuzz_seed}, {fuzz_count} sequences, {dict(SessionMachine.counts)}, "
            f"slowest {SessionMachine.slowest:.2f} s, grew {growth / 1e6:.0f} MB"
        )
    assert growth < GROWTH
