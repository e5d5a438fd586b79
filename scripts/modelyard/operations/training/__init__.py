"""The steps of training: fetch, train, evaluate, verify, record."""
