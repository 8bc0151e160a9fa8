"""Methods of several stages, which may use every room."""
