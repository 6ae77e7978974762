"""The session: its immutable state, its transitions and what prompts are valid."""
