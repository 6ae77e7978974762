"""What accepted objects teach a profile, until it is in the profile's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.io.profiles.files import update_profile
from napari_spa.io.profiles.profile import PreferenceProfile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.io.models.identity import ModelIdentity

    Lesson = Callable[[PreferenceProfile], PreferenceProfile]


class Lessons:
    """Lessons that are due to be written; for one thread.

    Each goes into its profile's file once.  One that cannot be written stays due, and is
    written with the next.
    """

    def __init__(self) -> None:
        self._due: dict[Path, list[Lesson]] = {}

    def due(self, path: Path) -> int:
        """Return how many lessons are not in a profile's file yet; in any thread."""
        return len(self._due.get(path, ()))

    def unwritten(self) -> tuple[Path, ...]:
        """Return the profiles that lack lessons."""
        return tuple(self._due)

    def teach(self, path: Path, lesson: Lesson) -> PreferenceProfile:
        """Write a lesson, and all that were due before it.

        Parameters
        ----------
        path : Path
            The profile's file.
        lesson : callable
            From the profile before to the profile after.

        Returns
        -------
        PreferenceProfile
            What the file holds now.

        Raises
        ------
        ProfileError
            When the file is gone, damaged or of another model; the lesson stays due.
        DataError
            When it cannot be written; the lesson stays due.
        """
        self._due.setdefault(path, []).append(lesson)
        return self.write(path)

    def write(self, path: Path) -> PreferenceProfile:
        """Write what is due; raises as :meth:`teach` does."""
        lessons = self._due[path]
        written = update_profile(path, lambda profile: _after(profile, lessons))
        del self._due[path]
        return written

    def read(self, path: Path) -> PreferenceProfile:
        """Return what a file holds and what is due to it.

        Raises
        ------
        ProfileError
            When the file is gone, damaged, or of another model than a lesson.
        """
        return _after(PreferenceProfile.load(path), self._due.get(path, []))

    def drop(self, path: Path) -> None:
        """Forget what is due to a profile."""
        self._due.pop(path, None)


def for_model(
    lesson: Callable[[PreferenceProfile | None], PreferenceProfile], model: ModelIdentity
) -> Lesson:
    """Return a lesson that refuses profiles of another model than its own.

    Parameters
    ----------
    lesson : callable
        From :meth:`~napari_spa.refine.session.session.RefinementSession.lesson`.
    model : ModelIdentity
        The session's model.

    Returns
    -------
    callable
    """

    def checked(profile: PreferenceProfile) -> PreferenceProfile:
        profile.check(model)
        return lesson(profile)

    return checked


def _after(profile: PreferenceProfile, lessons: list[Lesson]) -> PreferenceProfile:
    for lesson in lessons:
        profile = lesson(profile)
    return profile
