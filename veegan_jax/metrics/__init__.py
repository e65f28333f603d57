"""Metrics of a generator's samples and of inference."""
