"""SQL of the KPI service: set-based, one module per noun."""
