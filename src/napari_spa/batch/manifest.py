"""``manifest.json``: what a batch made of which inputs with what; the same for the same work.

It holds no time, no machine and no path outside its folder, so two runs of one batch write
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from napari_spa.batch.task import result_from_record, result_to_record
from napari_spa.errors import DataError
from napari_spa.io.files import atomic_path, file_sha256
from napari_spa.io.models.identity import weights_sha256
from napari_spa.io.strict_json import JsonError, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_spa.batch.task import BatchRecipe, ImageResult

KIND, VERSION = "napari-spa batch", 1

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the manifest says of one image."""

    result: ImageResult  # what came of it
    # Key of what it was made with; empty for an image that no worker came to the end of.
    environment: str = ""


@dataclass(slots=True)
class Manifest:
    """The results of a batch."""

    recipe: Facts  # from :func:`recipe_facts`
    # Versions and kind of device, by a short digest of themselves.
    environments: dict[str, Facts] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)  # by the name of the image

    def add(self, result: ImageResult, environment: Facts) -> None:
        """Put an image's result in the place of an earlier one."""
        key = digest_of(environment)[:12] if environment else ""
        if environment:
            self.environments[key] = environment
        self.entries[result.name] = Entry(result, key)

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
        content = {
            "kind": KIND,
            "version": VERSION,
            "recipe": self.recipe,
            "environments": {k: v for k, v in self.environments.items() if k in used},
            "images": {
                name: {**result_to_record(entry.result), "environment": entry.environment}
                for name, entry in self.entries.items()
            },
            "review": self.review(),
        }
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
        # Half a character, as in a name that is not UTF-8, becomes the escape JSON has for it.
        return f"{text}\n".encode("utf-8", "backslashreplace")

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_path(path) as temporary:
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
        manifest = Manifest(dict(content["recipe"]), dict(content["environments"]))
        for name, record in content["images"].items():
            manifest.entries[name] = Entry(
                result_from_record(name, record), str(record["environment"])
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged; move it away to start again.") from error
    return manifest


def recipe_facts(recipe: BatchRecipe) -> Facts:
    """Say what decides the outputs besides the inputs, without any path."""
    from napari_spa.io.models.registry import find_model

    entry = find_model(recipe.model)
    if entry.path is None:  # find_model gives a path or raises
        raise DataError(f"the weights of {recipe.model} are not on this machine.")
    profile = None
    if recipe.profile is not None:
        profile = {"name": recipe.profile.name, "sha256": file_sha256(recipe.profile)}
    return {
        "model": {"name": entry.name, "sha256": weights_sha256(entry.path)},
        "profile": profile,
        "seed": recipe.seed,
        "source": recipe.source,
        "auto": asdict(recipe.auto) if recipe.source == "auto" else None,
        "doubtful": recipe.doubtful,
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
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last


def digest_of(content: Mapping[str, Any]) -> str:
    """Digest JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _doubt(result: ImageResult) -> float:
    """Return how doubtful an image is; an object without a mask is most doubtful."""
    return max((1.0 if o.problem else o.uncertainty for o in result.objects), default=0.0)
