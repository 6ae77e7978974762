"""The profile bar and its dialogs."""
