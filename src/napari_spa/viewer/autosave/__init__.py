"""Work saved as it is done, recovered after a crash, and exported."""
