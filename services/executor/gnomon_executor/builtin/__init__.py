"""Task types that every executor runs: `echo`, `sleep`, `http_request`."""
