"""The dock for a folder: `dock` connects, `panel` lays out, `model` and `list` show the images."""
