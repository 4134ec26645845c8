"""Jobs of a cluster: sent from anywhere, run by Ray Jobs, recorded in the folder that every node sees."""

from tuner.jobs.client import Client

__all__ = ["Client"]
