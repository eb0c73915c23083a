"""Exchange with other programs: their weights for us, and ours for them."""
