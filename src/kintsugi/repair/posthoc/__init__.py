"""Post-hoc repairs: a mended model without retraining all of it."""
