"""A search on one page that needs nothing beside it: answers, figures, tables."""
