"""A search's record in MLflow: spooled to disk by the driver, written by one background thread, never lost."""
