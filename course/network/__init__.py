"""The network and its receptive fields."""
