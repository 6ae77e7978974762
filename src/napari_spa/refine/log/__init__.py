"""The decision log: written by `journal`, read again by `reader`, computed again by `replay`."""
