"""The command line: `python -m ssdlib`."""
