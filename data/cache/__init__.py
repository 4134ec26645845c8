"""Rendered windows, kept for all processes of a machine."""
