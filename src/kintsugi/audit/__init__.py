"""Facts about the data: broken files, duplicates, wrong labels, groups."""
