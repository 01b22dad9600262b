"""Benchmarks, one module for each. What is compared is measured alternately, so that noise affects all of it alike."""
