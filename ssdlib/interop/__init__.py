"""Other people's files: their weights, and ours for other programs."""
