"""How a sample is written, found out from its bytes and its name.

What belongs here: kinds and formats, encodings, dialects, where records stand, dates in names, and
how an API cuts its answers. What does not: what the values mean (`transform.guessing`), and the
declaration that is made of it.
"""
