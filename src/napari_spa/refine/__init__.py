"""The application without a toolkit: engine, session, preference, annotation, log."""
