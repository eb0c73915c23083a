"""From predictions to detections."""
