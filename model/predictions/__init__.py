"""What was found in recordings, as files that other tools read."""
