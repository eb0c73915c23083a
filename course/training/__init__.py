"""The full training: plan a run, watch it, resume it."""
