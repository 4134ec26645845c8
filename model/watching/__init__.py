"""Watching a training: what is shown while it runs, and what is written beside its checkpoints."""
