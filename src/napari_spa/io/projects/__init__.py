"""The project folder of an image folder, and what it exports."""
