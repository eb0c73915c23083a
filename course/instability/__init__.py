"""Why training starts that break do break."""
