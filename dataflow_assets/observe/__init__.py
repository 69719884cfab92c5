"""What the system says of itself: event log, logs, traces, metrics."""
