"""What a process may use of a machine, and on which machines it runs."""
