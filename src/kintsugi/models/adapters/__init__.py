"""One file a library: each opens a model with the preprocessing and the class names its own configuration states."""
