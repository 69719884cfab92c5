"""Where tables live: the lake, the warehouse and its ledger.

What belongs here: publishing and loading partitions, and the locks that make that safe. What does
not: what the rows mean, and anything that Dagster shows.
"""
