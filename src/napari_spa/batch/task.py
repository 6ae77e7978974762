"""What a batch is asked, image by image, what it gave, and manifest.json, which says so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_spa.errors import DataError, InputError
from napari_spa.io.files import JsonError, atomic_path, file_sha256, read_json
from napari_spa.io.images import image_parts
from napari_spa.io.models.registry import file_digest, find_model
from napari_spa.io.projects.paths import inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def input_digest(task: BatchTask) -> str:
    """Digest an image's file or files, prompts and rough mask; its name and place do not count."""
    whole = hashlib.sha256()
    for path in (task.path, *(() if task.mask is None else (task.mask,))):
        for name, digest in _contents(path):
            whole.update(f"{name}\0{digest}\n".encode())
        whole.update(b"\n")
    for prompt in task.prompts:
        whole.update(repr((prompt.number, prompt.points, prompt.labels, prompt.index)).encode())
    return whole.hexdigest()


def _contents(path: Path) -> Iterator[tuple[str, str]]:
    """Go through the files of an image: its own, or all of its folder or series, in order."""
    for part in image_parts(path):
        if part == path:
            yield "", file_sha256(part, InputError)
        else:
            name = part.relative_to(path).as_posix() if path in part.parents else part.name
            yield name, file_sha256(part, InputError)


Source = Literal["prompts", "masks", "auto"]
Outcome = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """The clicks on one object of an image."""

    number: int  # the object's label, 1 or more
    points: tuple[tuple[float, float], ...]  # image pixels, one or more
    labels: tuple[int, ...]  # 1 on the object, 0 on the background; as many as points
    # The slice of a stack, one number for each axis before rows and columns.
    index: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AutoConfig:
    """How objects are found without prompts."""

    grid: int = 32  # points along the longer side of the image
    overlap: float = 0.5  # two masks of a higher intersection over union are one object
    # Masks on which samples disagree more are dropped; by a measured quality, 1.6 times as much.
    largest_uncertainty: float = 0.25
    smallest_area: int = 16  # smaller masks are dropped, in pixels
    # Masks that cover more of the image are dropped: they are its background.
    largest_share: float = 0.5


@dataclass(frozen=True, slots=True)
class BatchRecipe:
    """What is the same for all images of a batch; it decides the outputs with the inputs."""

    model: str = "spa-tiny"  # name or path of the model
    device: str = "auto"  # ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``
    profile: Path | None = None  # A preference profile; only read, never taught by a batch
    seed: int = 0  # seed of everything random
    source: Source = "prompts"  # where objects come from
    auto: AutoConfig = field(default_factory=AutoConfig)  # for ``"auto"``
    doubtful: float = 0.25  # an object of at least this uncertainty is put on the review list


@dataclass(frozen=True, slots=True)
class BatchTask:
    """One image of a batch."""

    name: str  # its name in the folder, with extension; names its outputs
    path: Path  # the file, or the folder of a series
    prompts: tuple[ObjectPrompt, ...] = ()  # for ``source="prompts"``
    mask: Path | None = None  # rough labels of the same shape, for ``source="masks"``
    middle: int | None = None  # do so many planes of the middle alone, as for an estimate


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """One object on one plane."""

    number: int  # its label
    index: tuple[int, ...]  # the slice; empty in an image
    area: int  # pixels
    uncertainty: float  # in [0, 1]
    problem: str = ""  # why it has no mask, in a sentence; empty when it has one


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What came of one image."""

    name: str  # of the task
    outcome: Outcome  # whether labels and log are on disk
    objects: tuple[ObjectResult, ...] = ()  # in order of label and slice
    doubtful: bool = False  # whether a user should look: an object is uncertain or has a problem
    input_sha256: str = ""  # digest of the input file or files, prompts and rough mask included
    # Path in the output folder (POSIX) and SHA-256 of each file written.
    outputs: tuple[tuple[str, str], ...] = ()
    problem: str = ""  # why the image failed, or what of its file was not opened; sentences


def result_to_record(result: ImageResult) -> dict[str, Any]:
    """Turn a result into JSON values; its name is left out."""
    return {
        "outcome": result.outcome,
        "problem": result.problem,
        "doubtful": result.doubtful,
        "uncertainty": max((o.uncertainty for o in result.objects), default=None),
        "objects": [{**asdict(o), "index": list(o.index)} for o in result.objects],
        "input_sha256": result.input_sha256,
        "outputs": dict(result.outputs),
    }


def result_from_record(name: str, record: Mapping[str, Any]) -> ImageResult:
    """Turn JSON values back into a result."""
    objects = tuple(
        ObjectResult(
            int(o["number"]),
            tuple(int(k) for k in o["index"]),
            int(o["area"]),
            float(o["uncertainty"]),
            str(o["problem"]),
        )
        for o in record["objects"]
    )
    if record["outcome"] not in ("done", "failed"):
        raise ValueError(record["outcome"])
    outputs = tuple(sorted((inside(k), str(v)) for k, v in record["outputs"].items()))
    return ImageResult(
        name=inside(name),
        outcome=record["outcome"],
        objects=objects,
        doubtful=bool(record["doubtful"]),
        input_sha256=str(record["input_sha256"]),
        outputs=outputs,
        problem=str(record["problem"]),
    )


KIND, VERSION = "napari-spa batch", 1

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the manifest says of one image."""

    result: ImageResult  # what came of it
    recipe: Facts  # what it was made by
    # Key of what it was made with; empty for an image that no worker came to the end of.
    environment: str = ""


@dataclass(slots=True)
class Manifest:
    """The results of a batch, and of those before it in the same folder."""

    recipe: Facts  # of the latest batch, from :func:`recipe_facts`
    # Versions and kind of device, by a short digest of themselves.
    environments: dict[str, Facts] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)  # by the name of the image

    def add(self, result: ImageResult, environment: Facts) -> None:
        """Put an image's result in the place of an earlier one."""
        key = digest_of(environment)[:12] if environment else ""
        if environment:
            self.environments[key] = environment
        self.entries[result.name] = Entry(result, self.recipe, key)

    def review(self) -> tuple[str, ...]:
        """Return the names of doubtful images, the most uncertain first."""
        doubtful = [e.result for e in self.entries.values() if e.result.doubtful]
        return tuple(r.name for r in sorted(doubtful, key=lambda r: (-_doubt(r), r.name)))

    def missing(self) -> tuple[tuple[str, int, str], ...]:
        """Return the objects that could not be had: image, number, and why, in a sentence."""
        results = [entry.result for entry in self.entries.values()]
        return tuple(
            sorted((r.name, o.number, o.problem) for r in results for o in r.objects if o.problem)
        )

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        used = {entry.environment for entry in self.entries.values()}
        content: dict[str, Any] = {
            "kind": KIND,
            "version": VERSION,
            "recipe": self.recipe,
            "environments": {k: v for k, v in self.environments.items() if k in used},
            "images": {},
            "review": self.review(),
        }
        for name, entry in self.entries.items():
            record = {**result_to_record(entry.result), "environment": entry.environment}
            if what_differs(entry.recipe, self.recipe):
                record["recipe"] = digest_of(entry.recipe)[:12]
                content.setdefault("earlier recipes", {})[record["recipe"]] = entry.recipe
            content["images"][name] = record
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
        # Half a character, as in a name that is not UTF-8, becomes the escape JSON has for it.
        return f"{text}\n".encode("utf-8", "backslashreplace")

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_path(path, within=path.parent) as temporary:
            temporary.write_bytes(self.to_bytes())


def read_manifest(path: Path) -> Manifest | None:
    """Read a manifest."""
    try:
        content = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except JsonError as error:
        raise DataError(f"{path} is damaged; move it away to start again.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise DataError(f"{path} is not of a batch; choose another output folder.")
    if content.get("version") != VERSION:
        raise DataError(f"{path} was written by a newer napari-spa; update napari-spa.")
    try:
        earlier = {str(k): dict(v) for k, v in content.get("earlier recipes", {}).items()}
        manifest = Manifest(dict(content["recipe"]), dict(content["environments"]))
        for name, record in content["images"].items():
            recipe = earlier[record["recipe"]] if record.get("recipe") else manifest.recipe
            result = result_from_record(name, record)
            manifest.entries[name] = Entry(result, recipe, str(record["environment"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged; move it away to start again.") from error
    return manifest


def recipe_facts(recipe: BatchRecipe) -> Facts:
    """Say what decides the outputs besides the inputs, without any path."""
    entry = find_model(recipe.model)
    if entry.path is None:  # find_model gives a path or raises
        raise DataError(f"the weights of {recipe.model} are not on this machine.")
    profile = None
    if recipe.profile is not None:
        profile = {"name": recipe.profile.name, "sha256": file_sha256(recipe.profile)}
    return {
        "model": {"name": entry.name, "sha256": file_digest(entry.path)},
        "profile": profile,
        "seed": recipe.seed,
        "source": recipe.source,
        "auto": asdict(recipe.auto) if recipe.source == "auto" else None,
        "doubtful": recipe.doubtful,
    }


_FACT_WORDS = {
    "auto": "way to find objects",
    "doubtful": "limit for review",
    "source": "kind of prompts",
}


def what_differs(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Name what two recipes do not share."""

    def matter(value: Any) -> Any:  # noqa: ANN401  any JSON value
        return value["sha256"] if isinstance(value, dict) and "sha256" in value else value

    names = [
        name
        for name in sorted({*first, *second})
        if matter(first.get(name)) != matter(second.get(name))
    ]
    if "source" in names and "auto" in names:
        names.remove("auto")  # of one of the two kinds alone
    *most, last = [_FACT_WORDS.get(name, name) for name in names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def digest_of(content: Mapping[str, Any]) -> str:
    """Digest JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _doubt(result: ImageResult) -> float:
    """Return how doubtful an image is; an object without a mask is most doubtful."""
    return max((1.0 if o.problem else o.uncertainty for o in result.objects), default=0.0)
