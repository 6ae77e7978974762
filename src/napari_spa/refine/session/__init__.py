"""The session: what the user does to one object after another.

Front: `session` (``RefinementSession``), `acts` (decisions, and what they said pixel by pixel),
`state` (immutable states, the timeline, and how each act goes from one state to the next).
`prompt_validation` refuses what cannot be meant.
"""
