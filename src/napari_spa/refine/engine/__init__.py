"""From an image and prompts to a proposal; the one room of refine that computes with torch.

Front: `predictor` (the facade), `round` (what it is asked and returns), `view` (a field of view
and what reads it), `image_plane` (a plane read piece by piece), `alternatives` (what else a
click may mean, and picks), `previews` (pictures of candidates), `config`.
"""
