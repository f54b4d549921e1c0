"""What notify does: load, decide, save, announce; one transaction each, and sending outside of any."""
