"""A better model: objectives, samplers, augmentations, distillation and post-hoc repairs."""
