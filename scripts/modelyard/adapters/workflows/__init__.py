"""Workflows: run by Argo, by Airflow, or on this machine."""
