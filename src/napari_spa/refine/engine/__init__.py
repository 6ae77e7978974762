"""From an image and prompts to a proposal; the one room of refine that computes with torch."""
