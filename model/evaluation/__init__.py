"""What a detector is worth, by the Prophesee protocol."""
