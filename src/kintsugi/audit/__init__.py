<<<<<<< HEAD
"""Facts about the data: files, duplicates, labels, groups."""
=======
"""Facts about the data: broken files, duplicates, wrong labels, groups."""
>>>>>>> rooms
