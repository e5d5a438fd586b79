"""What modelyard itself runs on, as its manifests and settings say it."""
