"""The named configurations: one page an experiment, and `resolve` to find them."""
