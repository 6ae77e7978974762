"""Results of images as JSON values, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_spa.batch.task import ImageResult, ObjectResult
from napari_spa.io.projects.paths import inside

if TYPE_CHECKING:
    from collections.abc import Mapping


def result_to_record(result: ImageResult) -> dict[str, Any]:
    """Turn a result into JSON values; its name is left out.

    Parameters
    ----------
    result : ImageResult
        Of an image.

    Returns
    -------
    dict
    """
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
    """Turn JSON values back into a result.

    Parameters
    ----------
    name : str
        Of the image.
    record : mapping
        From :func:`result_to_record`.

    Returns
    -------
    ImageResult

    Raises
    ------
    KeyError, TypeError, ValueError
        When it is none.
    """
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
        name=name,
        outcome=record["outcome"],
        objects=objects,
        doubtful=bool(record["doubtful"]),
        input_sha256=str(record["input_sha256"]),
        outputs=outputs,
        problem=str(record["problem"]),
    )
