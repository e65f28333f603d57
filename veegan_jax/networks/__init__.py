"""Flax modules, which know no training state, and the groups that size them."""
