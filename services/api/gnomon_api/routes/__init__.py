"""HTTP, one file a topic. A route reads the request, asks, and shapes the answer; it decides nothing."""
