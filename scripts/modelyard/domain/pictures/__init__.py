"""What the pictures of the site show, as coordinates: pure, so that a template only writes them."""
