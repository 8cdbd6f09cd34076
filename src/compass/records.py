"""Results that several rooms read."""
