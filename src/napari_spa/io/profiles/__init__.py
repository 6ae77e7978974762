"""Preference profiles: `profile` is one and its file, `store` the folder of the user's."""
