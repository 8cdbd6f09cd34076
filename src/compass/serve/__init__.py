"""Serve every language from one address: a gateway before model servers that holds them to the registry."""
