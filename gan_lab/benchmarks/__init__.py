"""What is measured, one file a kind; everything in turn within one run, so that a noisy machine disturbs all alike."""
