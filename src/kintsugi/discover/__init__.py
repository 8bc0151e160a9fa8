"""Facts about a model on data."""
