"""The Qt widgets and docks: they show and ask, nothing else."""
