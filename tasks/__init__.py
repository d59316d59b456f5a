"""Tasks act: one retryable, idempotent effect each."""
