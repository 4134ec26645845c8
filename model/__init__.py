"""Batches train a spiking detector. This floor knows the data, and nothing above it."""
