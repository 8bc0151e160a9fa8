"""New images: generators, and guidance through their sampling path."""
