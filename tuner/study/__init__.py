"""The durable study: what became of every trial, in a database that outlives any process."""
