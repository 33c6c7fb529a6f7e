"""The search spaces of the papers, each a function of its parameters."""
