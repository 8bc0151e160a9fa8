"""Papers whose content is an experiment: models and data in, a table and a verdict out."""
