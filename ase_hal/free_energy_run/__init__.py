"""Learning a free energy in a directory of its own, from one YAML file: run, display, report."""
