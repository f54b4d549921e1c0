"""HTTP of goals: one module per resource, its models beside its routes."""
