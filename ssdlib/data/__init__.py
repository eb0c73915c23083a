"""Photographs and boxes on their way to a batch."""
