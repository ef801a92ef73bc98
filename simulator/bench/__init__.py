"""``artel bench``: what is measured with nothing but this machine. Builds on all other packages."""
