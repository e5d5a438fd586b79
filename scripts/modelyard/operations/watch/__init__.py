"""The watcher: observes releases, writes facts, and reconciles."""
