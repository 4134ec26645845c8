"""The preflight check: what is wrong with recordings or a dataset."""
