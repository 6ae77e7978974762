"""The active profile: `active` holds it; `actions` change profiles, and show where two disagree."""
