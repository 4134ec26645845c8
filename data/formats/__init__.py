"""What users have: files of events and of boxes, and how they are found and read."""
