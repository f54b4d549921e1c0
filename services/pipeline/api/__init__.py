"""HTTP of pipeline: one module for each resource, its models beside its routes."""
