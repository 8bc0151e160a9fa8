"""Facts about the data: files, duplicates, labels, groups."""
