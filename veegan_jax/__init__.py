"""VEEGAN, its rivals and the measures of mode collapse, in JAX."""
