"""The drift profile of a training: in one piece, or of shards."""
