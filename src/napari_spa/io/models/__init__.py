"""Model files: found, recognised, read safely and put together.

Front: `load` (``load_model``), `registry` (which models there are, and what a profile or a log says
of one), `formats` for those who write or import weights.
"""
