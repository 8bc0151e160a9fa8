"""A method against its baseline on real images over seeds: the evidence."""
