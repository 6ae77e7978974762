"""The decision log: written, read again and replayed."""
