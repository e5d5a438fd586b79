"""What a forge with an API has in common, whichever it is."""
