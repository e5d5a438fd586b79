"""Several worker processes that serve one model on one port, with one set of counters."""
