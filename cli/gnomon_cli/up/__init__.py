"""`gnomon up`: all of Gnomon on one machine, as supervised child processes of this one."""
