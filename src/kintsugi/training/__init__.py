"""The one training loop, its schedules, averages and checkpoints, and the objectives every room needs."""
