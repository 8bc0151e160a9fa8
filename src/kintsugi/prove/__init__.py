"""Evidence: a method against its baseline, a classifier against its repaired self."""
