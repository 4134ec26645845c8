"""Detections of successive windows become tracks, and tracks are scored."""
