"""What runs where, and what pull requests and trainings wait for."""
