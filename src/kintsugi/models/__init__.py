"""Classifiers and encoders of every origin behind one contract: images in 0..1 go in, logits or vectors come out."""
