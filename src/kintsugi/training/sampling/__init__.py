"""Which samples make a batch: samplers every room needs."""
