"""What was done and what is agreed: the chain of certificates."""
