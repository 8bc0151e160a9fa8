"""The words every room shares: cards, batches, findings, verdicts, decisions, runs. Never imports torch at the top."""
