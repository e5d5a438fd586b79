"""Pages as HTML, and the folder that they are kept in."""
