"""The survival model: features, training, evaluation, versions, and one prediction at a time."""
