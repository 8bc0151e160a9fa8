"""Groups inferred from what a model says."""
