"""Papers whose content is an experiment: each runs it on the data and models it is given."""
