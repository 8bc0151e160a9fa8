"""Changed images that break a model."""
