"""Recordings become batches. This floor knows no network and no cluster."""
