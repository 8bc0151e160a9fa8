"""One file a method: what is run, against what, on which data, and what is claimed of it."""
