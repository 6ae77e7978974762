"""The session: what the user does to one object after another.

Front: `session` (``RefinementSession``), `state` (immutable states, decisions, the timeline, and
how each act goes from one state to the next).  `prompt_validation` refuses what cannot be meant.
"""
