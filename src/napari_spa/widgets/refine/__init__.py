"""The dock for one image: `dock` connects, `panel` lays out, one file for each part."""
