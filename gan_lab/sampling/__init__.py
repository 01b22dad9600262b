"""What ``gan_lab.sample`` does, with one module for each of its uses."""
