"""`gnomon doctor`: looks at everything that a running Gnomon stands on, and says what to do about what is wrong."""
