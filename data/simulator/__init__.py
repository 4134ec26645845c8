"""Simulated traffic at an intersection, seen by a simulated event camera."""
