"""From an image and prompts to a proposal; the one room of refine that computes with torch.

Front: `predictor` (the facade), `round` (what it is asked and returns), `view` (a field of view
and what reads it), `image_plane` (a plane read piece by piece), `hypotheses` (what a click may
mean), `previews` (pictures of candidates), `config`.
"""
