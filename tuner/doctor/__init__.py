"""Doctor: looks at a cluster, or at this machine alone, and tells what would hinder a search, with the remedy."""
