"""Where releases run: local server processes, or Kubernetes with Argo Rollouts."""
