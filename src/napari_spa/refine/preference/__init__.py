"""What a profile learns from choices, and how it is described and compared."""
