"""Training: the steps of one configuration, what they need of the machine, and how they go on after a fall."""
