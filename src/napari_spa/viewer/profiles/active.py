"""The active profile: chosen, taught by accepted objects, remembered for the next session."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.errors import SpaError
from napari_spa.io.files import remember, remembered
from napari_spa.io.profiles import (
    PreferenceProfile,
    ProfileStore,
    StoreEntry,
    described,
    folded,
    read_entry,
    update_profile,
)
from napari_spa.refine.preference import describe, in_brief
from napari_spa.viewer.background import FileThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.refine.session.session import RefinementSession

    ProfileUpdate = Callable[[PreferenceProfile], PreferenceProfile]


_logger = logging.getLogger(__name__)


def recent_profiles_path() -> Path:
    """Return the file that remembers profiles, in the user's state folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-spa") / "profiles.json"


def recent_profiles() -> dict[str, str]:
    """Return the profile that was used last with each model, its file's path."""

    def entries(content: Any) -> dict[str, str]:
        return {str(model): str(profile) for model, profile in content["profiles"].items()}

    return remembered(recent_profiles_path(), entries, {})


def remember_profile(model: str, profile: str) -> None:
    """Remember a model's profile; what cannot be remembered is no reason to fail."""
    known = recent_profiles()
    if known.get(model, "") != profile:
        remember(recent_profiles_path(), profiles={**known, model: profile})


class PendingUpdates:
    """Lessons that are due to be written; for one thread.

    Each goes into its profile's file once.  One that cannot be written stays due, and is
    written with the next.
    """

    def __init__(self) -> None:
        self._due: dict[Path, list[ProfileUpdate]] = {}
        self._written: dict[Path, list[_Step]] = {}  # the latest of this window

    def due(self, path: Path) -> int:
        """Return how many updates are not in a profile's file yet; in any thread."""
        return len(self._due.get(path, ()))

    def unwritten(self) -> tuple[Path, ...]:
        """Return the profiles that lack updates."""
        return tuple(self._due)

    def teach(self, path: Path, profile_update: ProfileUpdate) -> PreferenceProfile:
        """Write an update, and all that were due before it."""
        self._due.setdefault(path, []).append(profile_update)
        return self.write(path)

    def write(self, path: Path) -> PreferenceProfile:
        """Write what is due; raises as :meth:`teach` does."""
        updates = self._due[path]
        steps: list[_Step] = []

        def learn(profile: PreferenceProfile) -> PreferenceProfile:
            steps.clear()
            for profile_update in updates:
                steps.append(_Step(profile_update, profile, profile_update(profile)))
                profile = steps[-1].after
            return profile

        written = update_profile(path, learn)
        del self._due[path]
        self._written[path] = [*self._written.get(path, ()), *steps][-_MOST_UNLEARNT:]
        return written

    def forget(self, path: Path, profile_update: ProfileUpdate) -> PreferenceProfile | None:
        """Take the latest update of a profile back; None where something else came after it."""
        due, written = self._due.get(path, []), self._written.get(path, [])
        if due:
            if due[-1] is not profile_update:
                return None
            due.pop()
            if not due:
                del self._due[path]
            return self.read(path)
        if not written or written[-1].profile_update is not profile_update:
            return None
        step = written[-1]

        def before(now: PreferenceProfile) -> PreferenceProfile:
            if _evidence(now) != _evidence(step.after):  # by another window
                return now
            return replace(step.before, name=now.name, task=now.task)

        profile = update_profile(path, before)
        if _evidence(profile) != _evidence(step.before):
            return None
        written.pop()
        return profile

    def read(self, path: Path) -> PreferenceProfile:
        """Return what a file holds and what is due to it."""
        profile = PreferenceProfile.load(path)
        for profile_update in self._due.get(path, ()):
            profile = profile_update(profile)
        return profile

    def drop(self, path: Path) -> None:
        """Forget what is due to a profile."""
        self._due.pop(path, None)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """An update that was written, and the profile before and after it."""

    profile_update: ProfileUpdate
    before: PreferenceProfile
    after: PreferenceProfile


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What an accepted object taught, to be taken back with it."""

    path: Path | None  # the profile's file; None for what stays with the window
    profile_update: ProfileUpdate
    before: PreferenceProfile | None  # of the window
    after: PreferenceProfile | None
    known: int  # how much of the object was known before


def _evidence(profile: PreferenceProfile) -> str:
    return replace(profile, name="", task="").to_json()


UNSAVED = "Unsaved preference: it lasts until the window closes."
_LONGEST_IN_SENTENCE = 40
_MOST_UNLEARNT = 50  # so many updates can be taken back, one after another


class ActiveProfile(QObject):
    """The profiles in the store and the one in use; all but :meth:`equip` in the main thread.

    Without a chosen profile, what is learnt stays with the window.
    """

    changed = Signal()  # the list, the choice, or what is in the profile in use
    failed = Signal(str)  # what went wrong, in one sentence
    forgotten = Signal(object)  # what the window knows after an update was taken back or repeated
    _refused = Signal(object, str)  # from other threads
    _unlearnt = Signal(object, object)

    def __init__(self, store: ProfileStore | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.store = store or ProfileStore()
        self.entries: tuple[StoreEntry, ...] = ()
        self.chosen: Path | None = None
        self.loose: PreferenceProfile | None = None
        self.model_name = ""
        self.teaching = True
        self.files = FileThread("napari-spa-profiles", self)
        self.files.failed.connect(self.failed)
        self.updates = PendingUpdates()
        self._refused.connect(self._on_refused)
        self._unlearnt.connect(self._on_unlearnt)
        self._session: RefinementSession | None = None
        self._held: PreferenceProfile | None = None  # of the chosen one, as far as is known
        # What objects of models that are not in use any more teach.
        self._earlier: dict[ModelIdentity, Path | None] = {}
        self._writing = 0
        self._told = False

    # ------------------------------------------------------------------ what it is now

    @property
    def profile(self) -> PreferenceProfile | None:
        """What objects start from: the chosen profile, or what this window learnt."""
        return self.loose if self.chosen is None else self._held

    @property
    def unwritten(self) -> bool:
        """Whether the profile in use lacks updates that could not be written yet."""
        due = 0 if self.chosen is None else self.updates.due(self.chosen)
        return due > 0 and not self._writing

    @property
    def entry(self) -> StoreEntry | None:
        """The profile in use."""
        return next((entry for entry in self.entries if entry.path == self.chosen), None)

    def fits(self, entry: StoreEntry) -> bool:
        """Tell whether a profile can be used with the model, as far as is known."""
        if entry.problem or entry.model is None:
            return False
        if self._session is not None:
            return entry.fits(self._session.model.identity)
        is_path = "." in self.model_name  # which may hold any model
        return is_path or entry.model.name == self.model_name

    def others(self) -> tuple[StoreEntry, ...]:
        """Return the profiles that can be used beside the one in use."""
        return tuple(e for e in self.entries if e.path != self.chosen and self.fits(e))

    def problem(self, name: str, task: str = "", but: Path | None = None) -> str:
        """Say why a profile cannot be called so; empty when it can."""
        wanted = folded(name.strip()), folded(task.strip())
        if not wanted[0]:
            return "A profile needs a name."
        for entry in self.entries:
            if entry.path != but and (folded(entry.name), folded(entry.task)) == wanted:
                known = shortened(full_name(entry))
                return f"There is a profile {known} already; choose another name."
        return ""

    def words(self) -> tuple[str, str]:
        """Say what is in the profile in use: in one line, and in full."""
        profile, entry = self.profile, self.entry
        if self.chosen is None:
            if profile is None or not profile.evidence:
                return UNSAVED, f"No profile is in use. {UNSAVED}"
            kept = "Save as a profile… in the menu keeps it."
            return f"Unsaved: {in_brief(profile)}", f"{describe(profile)} {UNSAVED} {kept}"
        brief = "Reading…" if profile is None else in_brief(profile)
        full = [] if entry is None else [full_name(entry)]
        full += [] if profile is None else [describe(profile)]
        if self.unwritten:
            brief = f"Not saved yet: {brief[:1].lower()}{brief[1:]}"
            full.append("The latest could not be saved; it is tried again with the next object.")
        return brief, "\n".join([*full, str(self.chosen)])

    # ------------------------------------------------------------------ choosing

    def refresh(self) -> None:
        """Read the store again."""
        chosen, known = self.chosen, self.entry

        def look() -> tuple[StoreEntry, ...]:
            entries = self.store.list()
            if chosen is None or any(entry.path == chosen for entry in entries):
                return entries
            found = read_entry(chosen)
            if found is None:
                name = chosen.stem if known is None else known.name
                found = StoreEntry(chosen, name, problem=f"the profile {chosen} is gone.")
            return (*entries, found)

        self.files.ask(look, self._on_listed)
        if chosen is not None:  # another window may have taught it
            # Of one whose file is gone meanwhile, what is held stays in use; the list says it.
            read = partial(self._try_read, chosen, refuse=self._held is None)
            self.files.ask(read, partial(self.hold, chosen))

    def use(self, path: Path | None) -> None:
        """Use a profile, or none; objects start from it as soon as it is read."""
        if path == self.chosen:
            return
        self._choose(path)
        if path is None:
            self._give(self.loose)
        else:
            self.refresh()

    def equip(self, session: RefinementSession, *, again: bool = False) -> None:
        """Give a session the profile in use, once, or ``again`` as it is now; for the worker."""
        if again or session is not self._session:
            self.files.wait_for(partial(self._equip, session))

    def release(self) -> None:
        """Know no session any more: another model comes."""
        if self._session is not None:
            self._earlier[self._session.model.identity] = self.chosen
        self._session = None

    def adopt(self, profile: PreferenceProfile) -> None:
        """Go on with what was learnt before, unless a profile is chosen."""
        self.loose = profile
        if self.chosen is None:
            self._give(profile)

    def hold(self, path: Path, profile: PreferenceProfile | None) -> None:
        """Take what a file holds now, where it can be read, unless more was learnt meanwhile."""
        if profile is not None and path == self.chosen and not self._writing:
            self._held = profile
            self._give(profile)

    def set_teaching(self, on: bool) -> None:
        """Let accepted objects teach the profile in use, or leave it as it is."""
        if on != self.teaching:
            self.teaching = on
            self.changed.emit()

    def learn(
        self, session: RefinementSession, *, known: int = 0, in_use: bool = True
    ) -> Taught | None:
        """Teach the profile in use what the object accepted last says; None where nothing is.

        An object of a model that is not ``in_use`` any more teaches the profile used last with it.
        """
        if not self.teaching:
            session.profile = _fitting(self.profile, session)
            return None
        path = self.chosen if in_use else self._earlier.get(session.model.identity)
        after, model, update = session.profile, session.model.identity, session.profile_update()

        def profile_update(profile: PreferenceProfile) -> PreferenceProfile:
            profile.check(model)
            return update(profile)

        taught = Taught(path, profile_update, self.loose, after, known)
        if path is None:
            self.loose = after
        else:
            self._held = after if path == self.chosen else self._held
            self._begin_teaching(path, profile_update)
        self.changed.emit()
        return taught

    def unlearn(self, taught: Taught, session: RefinementSession) -> bool:
        """Take back what an object taught, if nothing else was taught since; for the worker."""
        path, profile = taught.path, taught.before
        if path is None:
            if self.loose is not taught.after:
                return False
            profile = profile or PreferenceProfile.empty(session.model.identity)
        else:
            try:
                profile = self.files.wait_for(
                    partial(self.updates.forget, path, taught.profile_update)
                )
            except SpaError as error:
                _logger.info("an update stays: %s", error)
                profile = None
            if profile is None:
                return False
        if path == self.chosen:
            session.profile = _fitting(profile, session)
        self._unlearnt.emit(path, profile)
        return True

    def learn_again(self, taught: Taught) -> Taught:
        """Teach again what was taken back with an act, as the act is done again."""
        path, before = taught.path, self.loose
        if path is not None:
            self._begin_teaching(path, taught.profile_update)
        elif taught.after is not None:
            after = taught.profile_update(before or PreferenceProfile.empty(taught.after.model))
            self.adopt(after)
            self.forgotten.emit(after)
            taught = replace(taught, before=before, after=after)
        self.changed.emit()
        return taught

    def close(self) -> tuple[str, ...]:
        """Write what is left, and end the thread; may be called twice."""
        self.files.ask(self._write_all)
        self.files.close()
        names = {entry.path: entry.name for entry in self.entries}
        return tuple(names.get(path, path.stem) for path in self.updates.unwritten())

    # ------------------------------------------------------------------ in the main thread

    def _choose(self, path: Path | None) -> None:
        self.chosen, self._held, self._told = path, None, False
        self.changed.emit()

    def _give(self, profile: PreferenceProfile | None) -> None:
        """Let objects start from a profile."""
        session = self._session
        if session is not None:
            session.profile = _fitting(profile, session)
        self.changed.emit()

    def _on_listed(self, entries: tuple[StoreEntry, ...]) -> None:
        self.entries = entries
        self.changed.emit()

    def _begin_teaching(self, path: Path, profile_update: ProfileUpdate) -> None:
        self._writing += 1
        self.files.ask(partial(self._teach, path, profile_update), partial(self._on_taught, path))

    def _on_taught(self, path: Path, written: PreferenceProfile | str) -> None:
        self._writing -= 1
        if not isinstance(written, str):
            self._told = False
            self._list(path, written)
        elif not self._told:
            self._told = True
            self.failed.emit(f"{written.rstrip('.')}; what you taught it is kept and tried again.")
            self.refresh()
        self.changed.emit()

    def _on_unlearnt(self, path: Path | None, profile: PreferenceProfile) -> None:
        if path is None:
            self.loose = profile
            self.forgotten.emit(profile)
        else:
            self._list(path, profile)
        self.changed.emit()

    def _list(self, path: Path, profile: PreferenceProfile) -> None:
        """Take what a file holds now for the list, too."""
        now = described(path, profile)
        self.entries = tuple(now if e.path == path else e for e in self.entries)
        self.hold(path, profile)

    def _on_refused(self, path: Path, sentence: str) -> None:
        """Go on without a profile that cannot be used."""
        if path == self.chosen:
            self._choose(None)
            self._give(self.loose)
            self.failed.emit(sentence)
            self.refresh()

    # ------------------------------------------------------------------ in the files' thread

    def _try_read(self, path: Path, *, refuse: bool = True) -> PreferenceProfile | None:
        try:
            profile = self.updates.read(path)
            if self._session is not None:
                profile.check(self._session.model.identity)
        except SpaError as error:
            if refuse:
                self._refused.emit(path, str(error))
            return None
        return profile

    def _equip(self, session: RefinementSession) -> None:
        self._session = session
        path = self.chosen
        profile = self.loose if path is None else self._try_read(path)
        session.profile = _fitting(profile, session)

    def _teach(self, path: Path, profile_update: ProfileUpdate) -> PreferenceProfile | str:
        """Return what the file holds now, or why it was not written."""
        try:
            return self.updates.teach(path, profile_update)
        except SpaError as error:
            return str(error)
        except Exception as error:  # the update must not be lost, whatever it is
            _logger.exception("a profile could not be written")
            return f"the profile could not be written ({error})."

    def _write_all(self) -> None:
        for path in self.updates.unwritten():
            try:
                self.updates.write(path)
            except (SpaError, OSError) as error:
                _logger.warning("%s", error)


def full_name(entry: StoreEntry) -> str:
    """Return what a user calls a profile, with its task: ``"Ana, optic cup"``."""
    return f"{entry.name}, {entry.task}" if entry.task else entry.name


def shortened(name: str) -> str:
    """Cut a name that would burst a sentence or a button."""
    if len(name) <= _LONGEST_IN_SENTENCE:
        return name
    return name[: _LONGEST_IN_SENTENCE - 1].rstrip() + "…"


def _fitting(
    profile: PreferenceProfile | None, session: RefinementSession
) -> PreferenceProfile | None:
    """Return a profile if the session's model can use it."""
    if profile is None or not profile.model.interchangeable(session.model.identity):
        return None
    return profile
