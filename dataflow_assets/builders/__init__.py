"""From declarations to Dagster assets, checks, sensors, schedules and jobs.

What belongs here: composing the floors below, and nothing else composes them. What does not: how
rows are read, cleaned or stored.
"""
