"""What an image shows: whether it belongs to the data, and whether it should be there at all."""
