"""Evaluation: the protocol, its baselines and the report."""
