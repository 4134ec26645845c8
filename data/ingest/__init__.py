"""Recordings become a dataset, resumably."""
