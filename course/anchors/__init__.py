"""Default boxes."""
