"""Reconcile: collect a model's world, plan, and apply the plan."""
