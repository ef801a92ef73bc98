"""``artel bench``: how good and how fast a workload is, beside what others have published."""
