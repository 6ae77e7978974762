"""What is asked of a batch and what comes of it, image by image; light and picklable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Source = Literal["prompts", "masks", "auto"]
Outcome = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """The clicks on one object of an image.

    Attributes
    ----------
    number : int
        The object's label, 1 or more.
    points : tuple of (row, column)
        Image pixels, one or more.
    labels : tuple of int
        1 on the object, 0 on the background; as many as points.
    index : tuple of int
        The slice of a stack, one number for each axis before rows and columns.
    """

    number: int
    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    index: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AutoConfig:
    """How objects are found without prompts.

    Attributes
    ----------
    grid : int
        Points along the longer side of the image.
    overlap : float
        Two masks of a higher intersection over union are one object.
    largest_uncertainty : float
        Masks the model is less sure of are dropped.
    smallest_area : int
        Smaller masks are dropped, in pixels.
    largest_share : float
        Masks that cover more of the image are dropped: they are its background.
    """

    grid: int = 32
    overlap: float = 0.5
    largest_uncertainty: float = 0.25
    smallest_area: int = 16
    largest_share: float = 0.5


@dataclass(frozen=True, slots=True)
class BatchRecipe:
    """What is the same for all images of a batch; it decides the outputs with the inputs.

    Attributes
    ----------
    model : str
        Name or path of the model.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.
    profile : Path or None
        A preference profile; only read, never taught by a batch.
    seed : int
        Seed of everything random.
    source : {"prompts", "masks", "auto"}
        Where objects come from.
    auto : AutoConfig
        For ``"auto"``.
    doubtful : float
        An object of at least this uncertainty is put on the review list.
    """

    model: str = "spa-tiny"
    device: str = "auto"
    profile: Path | None = None
    seed: int = 0
    source: Source = "prompts"
    auto: AutoConfig = field(default_factory=AutoConfig)
    doubtful: float = 0.25


@dataclass(frozen=True, slots=True)
class BatchTask:
    """One image of a batch.

    Attributes
    ----------
    name : str
        Its name in the folder, with extension; names its outputs.
    path : Path
        The file, or the folder of a series.
    prompts : tuple of ObjectPrompt
        For ``source="prompts"``.
    mask : Path or None
        Rough labels of the same shape, for ``source="masks"``.
    """

    name: str
    path: Path
    prompts: tuple[ObjectPrompt, ...] = ()
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """One object on one plane.

    Attributes
    ----------
    number : int
        Its label.
    index : tuple of int
        The slice; empty in an image.
    area : int
        Pixels.
    uncertainty : float
        In [0, 1].
    problem : str
        Why it has no mask, in a sentence; empty when it has one.
    """

    number: int
    index: tuple[int, ...]
    area: int
    uncertainty: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What came of one image.

    Attributes
    ----------
    name : str
        Of the task.
    outcome : {"done", "failed"}
        Whether labels and log are on disk.
    objects : tuple of ObjectResult
        In order of label and slice.
    doubtful : bool
        Whether a person should look: an object is uncertain or has a problem.
    input_sha256 : str
        Digest of the input file or files, prompts and rough mask included.
    outputs : tuple of (str, str)
        Path in the output folder (POSIX) and SHA-256 of each file written.
    problem : str
        Why the image failed, in a sentence.
    """

    name: str
    outcome: Outcome
    objects: tuple[ObjectResult, ...] = ()
    doubtful: bool = False
    input_sha256: str = ""
    outputs: tuple[tuple[str, str], ...] = ()
    problem: str = ""
