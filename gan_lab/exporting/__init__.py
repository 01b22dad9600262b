"""What ``gan_lab.export`` does: a run's generator in the formats of other programs."""
