"""The project folder of an image folder.

Front: `project` (the images and their work), `items` (what is known of one), `paths` (where
each file lies), `export` (for other programs).
"""
