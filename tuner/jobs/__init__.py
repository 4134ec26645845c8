"""Jobs of a cluster: sent from anywhere, run by Ray Jobs, recorded in the folder that every node sees."""
