"""What a YAML file may say: frozen Pydantic models, nothing else.

What belongs here: the words of a declaration, their defaults, and the mistakes that can be seen in
the words alone. What does not: anything that reads data, knows Dagster, or looks at a second
declaration.
"""
