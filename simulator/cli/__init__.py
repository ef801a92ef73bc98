"""The ``artel sim`` commands."""
