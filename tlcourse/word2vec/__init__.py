"""Word vectors: one vector a word."""
