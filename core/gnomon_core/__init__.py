"""What every Gnomon process stands on: timing and rules (pure), runtime (connections, loops, settings)."""
