"""The KPI service: turns the deal stream into live values, and announces what somebody watches."""
