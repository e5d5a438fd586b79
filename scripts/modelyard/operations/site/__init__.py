"""What `modelyard site` shows, and the folder of pages that it writes."""
