"""What knows napari: layers, keys, settings, background work, autosave, folders."""
