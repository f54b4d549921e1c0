"""Notify over HTTP: one module for each resource, its models beside its routes."""
