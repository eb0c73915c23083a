"""What teaches the detector: a package for each topic, and `kit`, which they share."""
