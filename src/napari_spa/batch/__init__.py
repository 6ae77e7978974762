"""Whole folders at once: one image at a time, safely, on one machine or many.

Front: `plan` (what is to be done), `runner` (do it), `estimate` (what it would cost), `verify`
(check an output folder), `task` (what goes in and comes out for one image).
"""
