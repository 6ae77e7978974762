"""What several docks use: `buttons`, `layouts`, `docks` (life and place of a dock)."""
