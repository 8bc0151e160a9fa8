"""What the picture shows: whether it belongs here, and whether it should be here."""
