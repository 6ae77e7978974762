"""The exception tree; every failure a user can meet is one sentence from here.

::

    SpaError
    ├── InputError          an image, prompt or argument cannot be used
    │   └── BlankImageError an image has no finite pixel
    ├── ModelError          a model is unknown, unreadable or of another kind
    │   └── CheckpointError a weights file is corrupt, unsafe or of another network
    ├── DeviceError         the asked device does not exist on this machine
    ├── SessionError        a call came in the wrong order
    ├── ProfileError        a profile is unreadable or belongs to another model
    ├── DataError           a data set or file on disk cannot be read or written
    └── Cancelled           the user asked for the work to stop

Sentences quote names that come from files and folders of strangers.  Whatever is in such a
name, a sentence stays one line of reasonable length that no terminal takes for a command.
"""

from __future__ import annotations

from unicodedata import category

_LONGEST_SENTENCE = 1000


class SpaError(Exception):
    """Base of every error this package raises on purpose; its text is safe to print."""

    def __str__(self) -> str:
        """Return the sentence, shortened in its middle and without control characters."""
        text = printable(super().__str__())
        if len(text) <= _LONGEST_SENTENCE:
            return text
        half = _LONGEST_SENTENCE // 2
        return f"{text[:half]} ... {text[-half:]}"  # the remedy stands at the end


def printable(text: str) -> str:
    r"""Write control characters and what is no character as escapes, as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or category(c) == "Zs" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class InputError(SpaError, ValueError):
    """An image, a prompt or an argument cannot be used."""


class BlankImageError(InputError):
    """An image has no finite pixel: a slice that registration left empty, say."""


class ModelError(SpaError):
    """A model is unknown, unreadable or of another kind."""


class CheckpointError(ModelError):
    """A weights file is corrupt, unsafe or belongs to another network."""


class DeviceError(SpaError):
    """The requested compute device does not exist on this machine."""


class SessionError(SpaError, RuntimeError):
    """A call came in the wrong order for the session's phase."""


class ProfileError(SpaError):
    """A preference profile is unreadable or belongs to another model."""


class DataError(SpaError):
    """A data set or a file on disk cannot be read or written."""


class Cancelled(SpaError):
    """The user asked for the running work to stop."""


class ImageWarning(UserWarning):
    """An image file holds more than is opened, or should hold more than it does."""


def sentence_of(error: BaseException) -> str:
    """Say what went wrong: one of our errors says it itself, of another its kind helps, too."""
    if isinstance(error, SpaError):
        return str(error)
    return f"something unexpected went wrong ({type(error).__name__}: {error})."


def was_interrupted(error: BaseException) -> bool:
    """Whether a user's interrupt is behind an error.

    Until Python 3.12 one that comes while a class is made, as in an import, becomes an error,
    of which a reader of files may make one of ours.
    """
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind is not None
