"""The notify service: alert rules, alerts, channels, deliveries and the inbox."""
