"""The active profile: `active` holds it, `actions` change profiles, `comparison` shows two."""
