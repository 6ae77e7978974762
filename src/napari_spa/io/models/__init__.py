"""Model files: found, recognised, read safely and put together."""
