"""The winner of a search, measured once more and kept beside the search."""
