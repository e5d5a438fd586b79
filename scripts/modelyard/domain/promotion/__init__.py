"""How versions move through environments: world, plan and actions."""
