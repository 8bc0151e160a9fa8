"""Numbers about predictions: pure functions and mergeable accumulators, each with its interval and averaging rule."""
