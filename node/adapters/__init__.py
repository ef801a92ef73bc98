"""Real libraries behind the ports."""
