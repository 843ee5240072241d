"""The survival model: features, training, evaluation, versions, predictions and their explanation."""
