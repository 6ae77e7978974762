"""Whole folders at once: one image at a time, safely, on one machine or many."""
