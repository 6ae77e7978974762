"""The profile bar (`bar`) and its `dialogs`."""
