"""Your SSD."""
