"""The judge: gathers evidence, gives verdicts, and serves them to a cluster over HTTP."""
