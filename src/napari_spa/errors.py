"""The exception tree; every failure a person can meet is one sentence from here.

::

    SpaError
    ├── InputError          an image, prompt or argument cannot be used
    ├── ModelError          a model is unknown, unreadable or of another kind
    │   └── CheckpointError a weights file is corrupt, unsafe or of another network
    ├── DeviceError         the asked device does not exist on this machine
    ├── SessionError        a call came in the wrong order
    ├── ProfileError        a profile is unreadable or belongs to another model
    ├── DataError           a data set or file on disk cannot be read or written
    └── Cancelled           the person asked for the work to stop
"""

from __future__ import annotations


class SpaError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(SpaError, ValueError):
    """An image, a prompt or an argument cannot be used."""


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
    """The person asked for the running work to stop."""
