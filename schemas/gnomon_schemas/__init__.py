"""The contract: commands, events, tasks, schedules, subjects, headers, problems, limits."""
