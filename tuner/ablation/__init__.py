"""What each improvement of a training is worth: measured with seeds, through the same engine as a search."""
