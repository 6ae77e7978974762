"""The table of objects."""
