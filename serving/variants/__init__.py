"""Build variants and keep them, by content."""
