"""Boxes, IoU and VOC."""
