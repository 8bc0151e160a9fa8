"""Images and their table, groups, readers and writers, and controlled sets with known cracks."""
