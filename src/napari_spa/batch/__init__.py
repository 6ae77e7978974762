"""Whole folders at once: one image at a time, safely, on one machine or many.

Front: `plan` (what is to be done), `runner` (do it, or say what it would cost), `resume` (what
an output folder holds, and whether it is as written), `task` (one image's input and result),
`engine` and `auto` (the objects of a plane).
"""
