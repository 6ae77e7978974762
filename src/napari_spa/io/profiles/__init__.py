"""Preference profiles: one file each, and the folder that stores them."""
