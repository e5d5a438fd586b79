"""Shadow answers: the canary's answers to copies of stable's requests, compared row by row."""
