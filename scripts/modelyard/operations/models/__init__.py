"""New models: proposed from a table, and compared with one."""
