"""Train ALS recommenders, make them forget records without retraining, and measure what is left."""
