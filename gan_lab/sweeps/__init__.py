"""Sweeps as Optuna studies: objective, storage shared by several workers, trials. The only package that imports Optuna."""
