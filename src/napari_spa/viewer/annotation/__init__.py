"""Annotating one image: the controller, its actions and the rounds on show."""
