"""Who proposes the next trial: each sampler behind one protocol, knowing neither the store nor the workers."""
