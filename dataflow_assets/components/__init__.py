"""The Dagster components that YAML names: thin, they resolve and then call the builders."""
