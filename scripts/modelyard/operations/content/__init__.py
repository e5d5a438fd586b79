"""A content repository of its own: its first files, and the toolkit that it pins."""
