"""Annotating the images of one viewer.

Front: `controller` (the hub: session, objects, layers), `image` (one annotated image), `prompts`
(from the mouse to prompts), `round` (what is on show), `display`, `objects` and `stack` (what the
user does to objects and through a stack), `painting` (what was painted by hand).
"""
