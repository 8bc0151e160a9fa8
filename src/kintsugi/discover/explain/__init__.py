"""Where in the image an answer comes from."""
