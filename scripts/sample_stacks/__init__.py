"""Two small stacks made by this project, with known objects, for samples, tests and benchmarks.

Both are procedural: the same seed gives the same stack, nothing is read or downloaded.
"""

from __future__ import annotations

from sample_stacks.ct import ct_stack
from sample_stacks.em import em_stack
from sample_stacks.stack import SampleStack

__all__ = ["SampleStack", "ct_stack", "em_stack"]
