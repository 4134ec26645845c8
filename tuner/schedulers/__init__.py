"""Who goes on, waits or ends: schedulers as plain objects that know neither the store nor the workers."""
