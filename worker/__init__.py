"""What runs where: settings, devices, processes, the command line. The only place that reads the environment."""
