"""The application without a toolkit: prediction, state and session."""
