"""The dock for a folder."""
