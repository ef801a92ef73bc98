"""The simulated network: links, cuts, NATs, and calls over framed streams or as whole messages."""
