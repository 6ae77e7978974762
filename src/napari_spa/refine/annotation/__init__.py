"""The objects of one image.

Front: `annotation` (labels and objects together), `objects` (immutable tables of them,
and what can be taken back), `propagation` (through a stack).
"""
