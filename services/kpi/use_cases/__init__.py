"""What the KPI service does: count, answer, announce, rebuild, verify."""
