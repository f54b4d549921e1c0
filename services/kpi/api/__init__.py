"""HTTP of kpi: one module per resource, its models beside its routes."""
