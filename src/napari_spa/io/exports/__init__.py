"""Write the work in a project folder for other programs."""
