"""Reconcile's shell: collect a model's world, compose changes, carry actions out."""
