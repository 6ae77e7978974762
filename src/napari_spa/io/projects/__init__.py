"""The project folder of an image folder.

Front: `project` (the images, their work, what is known of each), `paths` (where each file lies),
`classes` (what objects can be).
"""
