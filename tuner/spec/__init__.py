"""What a file of search_spaces/ asks for."""
