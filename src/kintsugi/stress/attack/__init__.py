"""Changes made to break one model."""
