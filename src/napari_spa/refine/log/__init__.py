"""The decision log: written and read again by `journal`, computed again by `replay`."""
