"""Many trainings as one study: what is minimised, what is kept, and who may work on it. The only room that knows Optuna."""
