"""Make the two sample stacks in ``src/napari_spa/samples``: procedural, the same at each run.

    python scripts/make_sample_stacks.py

Slices are laid out as one picture of eight bits and compressed as WebP, with losses that hide in
the noise; labels are exact.  ``napari_spa.viewer.samples.sample_stack`` reads them.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from sample_stacks import ct_stack, em_stack

OUT = HERE.parent / "src" / "napari_spa" / "samples"
COLUMNS = 5  # slices side by side
RANGES = {"ct": (-200, 400), "em": (0, 255)}  # what black and white stand for
QUALITY = {"ct": 70, "em": 50}


def main() -> None:
    """Write both stacks."""
    OUT.mkdir(exist_ok=True)
    for name, make in (("ct", ct_stack), ("em", em_stack)):
        stack = make()
        low, high = RANGES[name]
        grey = np.clip((stack.image.astype(float) - low) * 255 / (high - low), 0, 255)
        rows = [
            np.concatenate(list(grey[start : start + COLUMNS]), axis=1)
            for start in range(0, len(grey), COLUMNS)
        ]
        picture = io.BytesIO()
        Image.fromarray(np.rint(np.concatenate(rows)).astype(np.uint8)).save(
            picture, "WEBP", quality=QUALITY[name], method=6
        )
        facts = {
            "range": [low, high],
            "dtype": str(stack.image.dtype),
            "names": {str(number): text for number, text in stack.names.items()},
            "scale": stack.scale,
            "units": stack.units,
            "contrast_limits": stack.contrast_limits,
            "first_click": stack.first_click,
        }
        path = OUT / f"{name}.npz"
        np.savez_compressed(
            path,
            picture=np.frombuffer(picture.getvalue(), np.uint8),
            labels=stack.labels,
            facts=np.array(json.dumps(facts)),
        )
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
