"""The table of objects: `model` (rows) and `table` (view and controls)."""
