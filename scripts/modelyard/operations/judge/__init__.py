"""The judge: reads counts, gives verdicts, and answers a cluster over HTTP."""
