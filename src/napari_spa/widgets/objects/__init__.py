"""The tab Objects: `rows` (the list), `table` (and what is around it) and `presenter`."""
