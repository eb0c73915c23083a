"""Which anchor is assigned to which object."""
