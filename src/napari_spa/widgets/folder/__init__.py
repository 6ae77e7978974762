"""The dock for a folder: `dock` lays out and connects, `list` shows images, `jobs` asks."""
