"""The Qt widgets and docks."""
