"""What the tool keeps on a hosted forge for people to see."""
