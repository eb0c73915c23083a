"""Learning-rate drops."""
