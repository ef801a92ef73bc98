"""Who is here: signed peer records and the view of the swarm."""
