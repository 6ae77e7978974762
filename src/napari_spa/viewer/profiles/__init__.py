"""The active profile and what is done with profiles."""
