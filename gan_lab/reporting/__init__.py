"""Pages, tables and plots of runs and studies, made from the run directories alone."""
