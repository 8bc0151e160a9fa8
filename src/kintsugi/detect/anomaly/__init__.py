"""Images unlike the normal ones."""
